import { Button, Group, Kbd, Radio, SegmentedControl, Stack, Text } from '@mantine/core';
import { IconDeviceDesktop, IconLayoutGrid, IconLayoutList, IconMoon, IconSun } from '@tabler/icons-react';
import { useEffect, useState, type ReactNode } from 'react';
import { useHost, useLodge, usePreferences } from '../../components/lodge-context';
import { Logo } from '../../components/logo';
import { Page } from '../../components/page';
import { PathField } from '../../components/path-field';
import { asHostKey, HOST_KEYS, hostKeyLabel } from '../../model/keys';
import type { Preferences } from '../../model/types';
import classes from './preferences.module.css';

export function PreferencesView() {
  const lodge = useLodge();
  const host = useHost();
  const preferences = usePreferences();
  const change = (patch: Partial<Preferences>): void => void lodge.preferences.getState().change(patch);
  const [folder, setFolder] = useState(preferences.vmFolder);
  useEffect(() => {
    document.title = 'Preferences – Lodge';
  }, []);
  useEffect(() => setFolder(preferences.vmFolder), [preferences.vmFolder]);

  return (
    <Page title="Preferences" backLabel="Library">
      <div className={classes.scroll}>
        <div className={classes.column}>
          <Section title="Appearance">
            <Row name="Theme" hint="Automatic follows this computer.">
              <SegmentedControl
                aria-label="Theme"
                value={preferences.theme}
                onChange={(v) => change({ theme: v as Preferences['theme'] })}
                data={[
                  { value: 'auto', label: <Choice icon={<IconDeviceDesktop size={16} />} text="Automatic" /> },
                  { value: 'light', label: <Choice icon={<IconSun size={16} />} text="Light" /> },
                  { value: 'dark', label: <Choice icon={<IconMoon size={16} />} text="Dark" /> },
                ]}
              />
            </Row>
            <Row name="Library" hint="How machines are shown.">
              <SegmentedControl
                aria-label="Library view"
                value={preferences.libraryView}
                onChange={(v) => change({ libraryView: v as Preferences['libraryView'] })}
                data={[
                  { value: 'list', label: <Choice icon={<IconLayoutList size={16} />} text="List" /> },
                  { value: 'grid', label: <Choice icon={<IconLayoutGrid size={16} />} text="Grid" /> },
                ]}
              />
            </Row>
          </Section>
          <Section title="Keyboard">
            <Row name="Host key" hint="Pressed alone it leaves the machine; it is never sent to the guest.">
              <HostKeyField value={preferences.hostKey} onChange={(hostKey) => change({ hostKey })} platform={lodge.platform} />
            </Row>
          </Section>
          <Section title="Closing a running machine’s window">
            <Radio.Group
              aria-label="Closing a running machine’s window"
              value={preferences.closeAction}
              onChange={(v) => change({ closeAction: v as Preferences['closeAction'] })}
            >
              <Stack gap="sm" p="md">
                <Radio value="ask" label="Ask every time" />
                <Radio value="keepRunning" label="Keep it running in the background" />
                <Radio value="shutdown" label="Shut down" description="Asks the guest to end by itself" />
                <Radio value="powerOff" label="Power off" description="Pulls the plug: what the guest has not saved is lost" />
              </Stack>
            </Radio.Group>
          </Section>
          <Section title="Storage">
            <div className={classes.block}>
              <PathField
                label="Folder for machines"
                description="New machines and their disks are made here. Machines that are in another folder stay there and are shown again when it is chosen."
                kind="folder"
                wanted="folder"
                value={{ path: folder }}
                onChange={(f) => setFolder(f.path)}
              />
              {folder.trim() !== '' && folder.trim() !== preferences.vmFolder && (
                <Group mt="sm" gap="xs" justify="flex-end">
                  <Button variant="default" size="xs" onClick={() => setFolder(preferences.vmFolder)}>
                    Undo
                  </Button>
                  <Button size="xs" onClick={() => change({ vmFolder: folder.trim() })}>
                    Use this folder
                  </Button>
                </Group>
              )}
            </div>
          </Section>
          <Section title="This host">
            <div className={classes.block}>
              {host.accelerators.map((a) => (
                <div key={a.kind} className={classes.engine}>
                  <span className={classes.dot} data-on={a.available || undefined} />
                  <div>
                    <Text size="sm" fw={600}>
                      {a.kind === 'kvm' ? 'Hardware virtualization (KVM)' : 'Software CPU'}
                      {a.tiers.length > 0 && (
                        <Text span size="xs" c="dimmed" fw={400}>
                          {' '}
                          {a.tiers.join(', ')}
                        </Text>
                      )}
                    </Text>
                    <Text size="xs" c="dimmed">
                      {a.reason}
                    </Text>
                  </div>
                </div>
              ))}
            </div>
          </Section>
          <Group justify="center" gap="sm" mt="lg" mb="xl" c="dimmed">
            <Logo size={22} />
            <Text size="xs">
              Lodge {host.version}, {host.mode === 'electron' ? 'on this desktop' : 'served by this host'}
            </Text>
          </Group>
        </div>
      </div>
    </Page>
  );
}

const Choice = ({ icon, text }: { icon: ReactNode; text: string }) => (
  <Group gap={7} wrap="nowrap" justify="center">
    {icon}
    <span>{text}</span>
  </Group>
);

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className={classes.section}>
      <h2 className={classes.sectionTitle}>{title}</h2>
      <div className={classes.card}>{children}</div>
    </section>
  );
}

function Row({ name, hint, children }: { name: string; hint: string; children: ReactNode }) {
  return (
    <div className={classes.row}>
      <div>
        <Text size="sm" fw={600}>
          {name}
        </Text>
        <Text size="xs" c="dimmed">
          {hint}
        </Text>
      </div>
      {children}
    </div>
  );
}

/** Press-to-set: the next key that can be a host key becomes it; Escape keeps the old one. */
function HostKeyField({
  value,
  onChange,
  platform,
}: {
  value: Preferences['hostKey'];
  onChange: (key: Preferences['hostKey']) => void;
  platform: string;
}) {
  const [listening, setListening] = useState(false);
  const [refused, setRefused] = useState<string | null>(null);
  useEffect(() => {
    if (!listening) return;
    const onKey = (e: KeyboardEvent): void => {
      e.preventDefault();
      e.stopPropagation();
      if (e.code === 'Escape') {
        setListening(false);
        return;
      }
      const key = asHostKey(e.code);
      if (key === null) {
        setRefused(`${e.key.length === 1 ? e.key.toUpperCase() : e.code} is needed for typing.`);
        return;
      }
      onChange(key);
      setListening(false);
    };
    window.addEventListener('keydown', onKey, true);
    return () => window.removeEventListener('keydown', onKey, true);
  }, [listening, onChange]);
  return (
    <div className={classes.hostKey}>
      <Group gap="sm" wrap="nowrap">
        <Kbd size="md">{hostKeyLabel(value, platform)}</Kbd>
        <Button
          size="xs"
          variant={listening ? 'filled' : 'default'}
          onClick={() => {
            setRefused(null);
            setListening(!listening);
          }}
          onBlur={() => setListening(false)}
        >
          {listening ? 'Press a key…' : 'Change'}
        </Button>
      </Group>
      {listening && (
        <Text size="xs" c={refused === null ? 'dimmed' : 'red'} mt={6} role="status">
          {refused ?? ''} {`One of ${Object.values(HOST_KEYS).join(', ')}.`}
        </Text>
      )}
    </div>
  );
}
