/** A page of its own beside the library: a title, and the way back. */
import type { ReactNode } from 'react';
import { ActionIcon, Title, Tooltip } from '@mantine/core';
import { IconArrowLeft } from '@tabler/icons-react';
import { navigate } from './lodge-context';
import classes from './page.module.css';

interface PageProps {
  title: string;
  /** What going back means to somebody who hears it: “Cancel”, “Library”. */
  backLabel: string;
  children: ReactNode;
}

export function Page({ title, backLabel, children }: PageProps) {
  return (
    <div className={classes.page}>
      <header className={classes.header}>
        <Tooltip label="Back to the library">
          <ActionIcon
            variant="subtle"
            color="gray"
            size={34}
            aria-label={backLabel}
            onClick={() => navigate({ view: 'library' })}
          >
            <IconArrowLeft size={19} />
          </ActionIcon>
        </Tooltip>
        <Title order={1} fz={17} fw={680}>
          {title}
        </Title>
      </header>
      {children}
    </div>
  );
}
