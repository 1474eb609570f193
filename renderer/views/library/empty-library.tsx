import { Button, Group, Text, Title } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { navigate } from '../../components/lodge-context';
import { Logo } from '../../components/logo';
import classes from './empty-library.module.css';

export function EmptyLibrary() {
  return (
    <div className={classes.empty}>
      <Logo size={84} />
      <Title order={2} fz={24} mt="md">
        No machines yet
      </Title>
      <Text c="dimmed" maw={430} ta="center">
        Make one in a minute: from a Linux kernel, from a disk or disc image, or from the guest that comes with Lodge. You can
        also drop an ISO anywhere on this window.
      </Text>
      <Group mt="md">
        <Button size="md" leftSection={<IconPlus size={18} />} onClick={() => navigate({ view: 'new' })}>
          Make a machine
        </Button>
      </Group>
    </div>
  );
}
