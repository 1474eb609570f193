import { Button, Center, Code, Loader, MantineProvider, Stack, Text, Title, useMantineColorScheme } from '@mantine/core';
import { ModalsProvider } from '@mantine/modals';
import { Notifications } from '@mantine/notifications';
import { IconPlugConnectedX } from '@tabler/icons-react';
import { lazy, Suspense, useEffect } from 'react';
import { useStore } from 'zustand';
import { FailureDialog } from './components/failure-dialog';
import { LodgeProvider, useLodge, usePreferences, useRoute } from './components/lodge-context';
import { Logo } from './components/logo';
import type { Lodge } from './stores';
import { cssVariables, theme } from './theme';
import { Library } from './views/library/library';
import { PreferencesView } from './views/preferences/preferences-view';
import { SettingsDialog } from './views/settings/settings-dialog';
import { Wizard } from './views/wizard/wizard';
import classes from './app.module.css';

// xterm is a third of the page and the library does not need it.
const loadVmWindow = () => import('./views/vm/vm-window');
const VmWindow = lazy(() => loadVmWindow().then((m) => ({ default: m.VmWindow })));

export function App({ lodge }: { lodge: Lodge }) {
  return (
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
      <LodgeProvider lodge={lodge}>
        <ModalsProvider>
          <Notifications position="bottom-right" limit={4} />
          <Root />
        </ModalsProvider>
      </LodgeProvider>
    </MantineProvider>
  );
}

function Root() {
  const { connection } = useLodge();
  const { link, ready, error } = useStore(connection);
  if (link === 'refused') return <NeedsToken />;
  if (!ready) return <Connecting message={error?.message ?? null} />;
  return (
    <>
      <ThemeFollower />
      {link === 'lost' && (
        <div className={classes.lost} role="alert">
          <IconPlugConnectedX size={16} /> The connection to Lodge is lost. Machines go on running; it is tried again.
        </div>
      )}
      <Page />
      <SettingsDialog />
      <FailureDialog />
    </>
  );
}

function Page() {
  const route = useRoute();
  // By the time somebody double-clicks, the machine's window is there.
  useEffect(() => {
    const idle = requestIdleCallback(() => void loadVmWindow().catch(() => {}), { timeout: 2000 });
    return () => cancelIdleCallback(idle);
  }, []);
  switch (route.view) {
    case 'library':
      return <Library />;
    case 'new':
      return <Wizard key={route.image ?? ''} image={route.image} />;
    case 'preferences':
      return <PreferencesView />;
    case 'vm':
      return (
        <Suspense fallback={<Connecting message={null} />}>
          <VmWindow key={route.id} id={route.id} />
        </Suspense>
      );
  }
}

/** The preference is the service's: all windows and all browsers of a user look alike. */
function ThemeFollower() {
  const { theme: wanted } = usePreferences();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  useEffect(() => {
    if (colorScheme !== wanted) setColorScheme(wanted);
  }, [wanted, colorScheme, setColorScheme]);
  return null;
}

function Connecting({ message }: { message: string | null }) {
  return (
    <Center h="100%">
      <Stack align="center" gap="md">
        <Logo size={56} />
        <Loader size="sm" aria-label="Connecting" />
        {message !== null && (
          <Text size="sm" c="dimmed" maw={420} ta="center">
            {message}
          </Text>
        )}
      </Stack>
    </Center>
  );
}

function NeedsToken() {
  return (
    <Center h="100%" p="xl">
      <Stack align="center" gap="sm" maw={460}>
        <Logo size={56} />
        <Title order={1} fz={22} mt="sm">
          This address needs its token
        </Title>
        <Text size="sm" c="dimmed" ta="center">
          Only who has the token can use this Lodge. Open the full address that it printed when it was started; it looks like
          this:
        </Text>
        <Code block fz="sm">{`${location.origin}/?token=…`}</Code>
        <Button variant="default" mt="sm" onClick={() => location.reload()}>
          Try again
        </Button>
      </Stack>
    </Center>
  );
}
