import { Button, Group, Modal, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconAlertTriangle, IconInfoCircle } from '@tabler/icons-react';
import { useEffect } from 'react';
import { useStore } from 'zustand';
import { remediesFor } from '../model/stop-reason';
import { openSettings } from '../views/settings/open-settings';
import type { Notice } from '../stores';
import { ErrorPanel } from './error-panel';
import { navigate, useLodge } from './lodge-context';

/** Errors of things the user asked for, and short messages of the service. */
export function FailureDialog() {
  const lodge = useLodge();
  const failure = useStore(lodge.notices, (s) => s.failure);
  const close = lodge.notices.getState().closeFailure;
  const toasts = useStore(lodge.notices, (s) => s.toasts);
  useEffect(() => {
    for (const toast of toasts) {
      lodge.notices.getState().taken(toast.id);
      notifications.show({
        id: `notice-${toast.id}`,
        message: toast.action === undefined ? toast.message : <ToastWithAction toast={toast} action={toast.action} />,
        color: toast.level === 'error' ? 'red' : toast.level === 'warning' ? 'yellow' : 'spruce',
        icon: toast.level === 'info' ? <IconInfoCircle size={18} /> : <IconAlertTriangle size={18} />,
        // Time to reach for the button.
        autoClose: toast.level === 'error' ? false : toast.action !== undefined ? 12_000 : 6000,
        withBorder: true,
      });
    }
  }, [toasts, lodge]);

  const remedies = failure === null ? [] : remediesFor(failure.error.code);
  return (
    <Modal opened={failure !== null} onClose={close} title={failure?.context ?? ''} size={520}>
      {failure !== null && (
        <ErrorPanel
          key={failure.id}
          context={failure.context}
          title="It did not work"
          message={failure.error.message}
          fix={failure.error.fix}
          detail={failure.error.detail}
          code={failure.error.code}
          actions={
            <>
              {remedies.includes('settings') && failure.vmId !== undefined && (
                <Button
                  size="compact-xs"
                  onClick={() => {
                    close();
                    openSettings(lodge, failure.vmId!);
                  }}
                >
                  Open settings
                </Button>
              )}
              {remedies.includes('preferences') && (
                <Button
                  size="compact-xs"
                  onClick={() => {
                    close();
                    navigate({ view: 'preferences' });
                  }}
                >
                  Open preferences
                </Button>
              )}
              {remedies.includes('retry') && failure.retry !== undefined && (
                <Button
                  size="compact-xs"
                  variant="default"
                  onClick={() => {
                    close();
                    failure.retry!();
                  }}
                >
                  Try again
                </Button>
              )}
            </>
          }
        />
      )}
    </Modal>
  );
}

function ToastWithAction({ toast, action }: { toast: Notice; action: NonNullable<Notice['action']> }) {
  return (
    <Group justify="space-between" wrap="nowrap" gap="sm">
      <Text size="sm">{toast.message}</Text>
      <Button
        size="compact-xs"
        variant="default"
        style={{ flex: 'none' }}
        onClick={() => {
          notifications.hide(`notice-${toast.id}`);
          action.run();
        }}
      >
        {action.label}
      </Button>
    </Group>
  );
}
