import { Button, Group, Progress, Text } from '@mantine/core';
import { useEffect, useState, type ReactNode } from 'react';
import { baseName, formatDuration } from '../model/format';
import { secondsLeft } from '../model/storage';
import type { TrackedJob } from '../stores';
import { ErrorPanel } from './error-panel';
import { useLodge } from './lodge-context';

/** Long work on an image: how far, how long still, and a way to stop it that cleans up. `children`: what to do once it is done. */
export function JobRow({ tracked, children }: { tracked: TrackedJob; children?: ReactNode }) {
  const { jobs } = useLodge();
  const { job, since, from } = tracked;
  const running = job.state === 'running';
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  const dismiss = (): void => jobs.getState().dismiss(job.id);
  const what =
    job.kind === 'convert' ? (
      <>
        {running ? 'Converting to' : 'Converted to'} <b>{baseName(job.target)}</b>
      </>
    ) : running ? (
      'Making it larger'
    ) : (
      'It is larger now'
    );
  if (job.state === 'failed' && job.error !== undefined)
    return (
      <ErrorPanel
        context={`${job.kind === 'convert' ? 'Convert' : 'Make larger'} ${job.path}`}
        title={job.kind === 'convert' ? 'The copy could not be made' : 'It could not be made larger'}
        message={job.error.message}
        fix={job.error.fix}
        detail={job.error.detail}
        code={job.error.code}
        onClose={dismiss}
      />
    );
  // Of the part that this page has seen: it may have come late.
  const left = running ? secondsLeft((job.progress - from) / Math.max(0.001, 1 - from), (now - since) / 1000) : null;
  return (
    <div role="group" aria-label={job.kind === 'convert' ? 'Conversion' : 'Growing'}>
      <Group justify="space-between" wrap="nowrap" gap="sm">
        <Text size="xs" truncate className="tabular">
          {job.state === 'cancelled' ? 'Cancelled; nothing is left of it.' : what}
          {running && ` · ${Math.floor(job.progress * 100)} %`}
          {left !== null && ` · ${formatDuration(Math.ceil(left))} left`}
        </Text>
        <Group gap={6} wrap="nowrap">
          {running ? (
            <Button size="compact-xs" variant="default" onClick={() => void jobs.getState().cancel(job.id)}>
              Cancel
            </Button>
          ) : (
            <>
              {job.state === 'done' && children}
              <Button size="compact-xs" variant="subtle" color="gray" onClick={dismiss}>
                Dismiss
              </Button>
            </>
          )}
        </Group>
      </Group>
      {running && <Progress mt={6} size="sm" value={job.progress * 100} aria-label="Progress" />}
    </div>
  );
}
