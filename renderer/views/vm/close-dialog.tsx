import { Button, Checkbox, Stack, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useState } from 'react';
import type { Vm } from '../../model/types';
import type { Lodge } from '../../stores';

type Choice = 'keepRunning' | 'shutdown' | 'powerOff';

const CHOICES: readonly { value: Choice; label: string; text: string }[] = [
  { value: 'keepRunning', label: 'Keep it running', text: 'It goes on in the background; open it again from the library.' },
  { value: 'shutdown', label: 'Shut down', text: 'Asks the guest to end by itself, like its power button.' },
  { value: 'powerOff', label: 'Power off', text: 'Pulls the plug: what the guest has not saved is lost.' },
];

/** Leaving a running machine: three answers in plain words, one of which can be remembered. */
export function askClose(lodge: Lodge, vm: Vm, leave: () => void): void {
  const modalId = 'close-machine';
  modals.open({
    modalId,
    title: `Close “${vm.definition.name}”?`,
    children: (
      <CloseChoices
        onChoose={(choice, remember) => {
          modals.close(modalId);
          if (remember) void lodge.preferences.getState().change({ closeAction: choice });
          if (choice !== 'keepRunning') void lodge.vms.getState().command(vm.definition.id, choice);
          leave();
        }}
      />
    ),
  });
}

function CloseChoices({ onChoose }: { onChoose: (choice: Choice, remember: boolean) => void }) {
  const [remember, setRemember] = useState(false);
  return (
    <Stack gap="xs">
      {CHOICES.map((c) => (
        <div key={c.value}>
          <Button
            fullWidth
            variant={c.value === 'keepRunning' ? 'filled' : 'default'}
            {...(c.value === 'powerOff' && { c: 'red' })}
            onClick={() => onChoose(c.value, remember)}
            {...(c.value === 'keepRunning' && { 'data-autofocus': true })}
          >
            {c.label}
          </Button>
          <Text size="xs" c="dimmed" mt={3} mb={6} ta="center">
            {c.text}
          </Text>
        </div>
      ))}
      <Checkbox
        size="xs"
        label="Always do this (changed in the preferences)"
        checked={remember}
        onChange={(e) => setRemember(e.currentTarget.checked)}
      />
    </Stack>
  );
}
