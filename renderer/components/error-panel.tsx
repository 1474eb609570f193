import { Alert, Box, Button, Code, Collapse, Group, Text } from '@mantine/core';
import { IconAlertTriangle, IconChevronDown } from '@tabler/icons-react';
import { useState, type ReactNode } from 'react';
import { errorReport } from '../model/stop-reason';
import { CopyTextButton } from './copy-text-button';
import classes from './error-panel.module.css';
import { useHost } from './lodge-context';

export interface ErrorPanelProps {
  /** What was being done: first line of the copied report. */
  readonly context: string;
  readonly title: string;
  readonly message: string;
  readonly fix?: string | undefined;
  readonly detail?: string | undefined;
  readonly code?: string | undefined;
  readonly tone?: 'error' | 'warning';
  /** Buttons that are ways out. */
  readonly actions?: ReactNode;
  readonly onClose?: () => void;
}

/** Every error looks like this: headline, cause, fix, ways out, detail to expand, a report to copy. */
export function ErrorPanel({ context, title, message, fix, detail, code, tone = 'error', actions, onClose }: ErrorPanelProps) {
  const [expanded, setExpanded] = useState(false);
  const { version } = useHost();
  const report = errorReport(context, {
    message,
    ...(code !== undefined && { code }),
    ...(fix !== undefined && { fix }),
    ...(detail !== undefined && { detail }),
  });
  const color = tone === 'error' ? 'red' : 'yellow';
  return (
    <Alert
      className={classes.panel ?? ''}
      data-tone={tone}
      color={color}
      title={title}
      icon={<IconAlertTriangle size={18} />}
      withCloseButton={onClose !== undefined}
      {...(onClose !== undefined && { onClose })}
      closeButtonLabel="Dismiss"
    >
      <Text size="sm" className="selectable">
        {message}
      </Text>
      {fix !== undefined && (
        <Text size="sm" mt={4} className="selectable" c="dimmed">
          {fix}
        </Text>
      )}
      <Group gap={8} mt="sm">
        {actions}
        <CopyTextButton text={`${report}\n(Lodge ${version})`} label="Copy report" />
        {detail !== undefined && detail !== '' && (
          <Button
            size="compact-xs"
            variant="subtle"
            color="gray"
            aria-expanded={expanded}
            rightSection={<IconChevronDown size={13} style={{ rotate: expanded ? '180deg' : '0deg' }} />}
            onClick={() => setExpanded(!expanded)}
          >
            Details
          </Button>
        )}
      </Group>
      {detail !== undefined && (
        <Collapse expanded={expanded} keepMounted={false}>
          <Box mt="xs" mah={260} style={{ overflow: 'auto' }}>
            <Code block fz={11} className="selectable">
              {detail}
            </Code>
          </Box>
        </Collapse>
      )}
    </Alert>
  );
}
