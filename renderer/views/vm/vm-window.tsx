import { Center, Button, Tabs, Text } from '@mantine/core';
import { IconActivityHeartbeat, IconDeviceDesktop, IconTerminal2 } from '@tabler/icons-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import { useStore } from 'zustand';
import { DropTarget } from '../../components/drop-target';
import { navigate, useLodge, usePreferences, useVm } from '../../components/lodge-context';
import { useVmCommands } from '../../components/vm-commands';
import { Display, type DisplayHandle } from '../../display/display';
import type { HostCommand } from '../../display/capture';
import { isLive } from '../../model/actions';
import type { ScaleMode } from '../../model/scale';
import type { Vm } from '../../model/types';
import { scaleKey } from '../../stores';
import { Terminal } from '../../terminal/terminal';
import { askClose } from './close-dialog';
import { Overlay } from './overlay';
import { Performance } from './performance';
import { StatusBar } from './status-bar';
import { Toolbar } from './toolbar';
import classes from './vm-window.module.css';

export function VmWindow({ id }: { id: string }) {
  const vm = useVm(id);
  if (vm === undefined)
    return (
      <Center h="100%">
        <div style={{ textAlign: 'center' }}>
          <Text fw={600}>This machine is not there any more.</Text>
          <Button variant="default" mt="md" onClick={() => navigate({ view: 'library' })}>
            Go to the library
          </Button>
        </div>
      </Center>
    );
  return <LiveWindow vm={vm} />;
}

function LiveWindow({ vm }: { vm: Vm }) {
  const lodge = useLodge();
  const { id, name, serialPorts } = vm.definition;
  const { hostKey, closeAction } = usePreferences();
  const commands = useVmCommands(vm);
  const session = useMemo(() => lodge.openViewer(id), [lodge, id]);
  const live = isLive(vm.state);
  const [tab, setTab] = useState('display');
  const scale = useStore(lodge.kept, (s) => s.scales[scaleKey(id, window.screen)] ?? 'auto');
  const [captured, setCaptured] = useState(false);
  const [fullscreen, setFullscreen] = useState(false);
  const display = useRef<DisplayHandle>(null);
  const root = useRef<HTMLDivElement>(null);
  const screen = useStore(session.state, (s) => s.screen);

  useEffect(() => {
    document.title = `${name} – Lodge`;
  }, [name]);
  // While it starts there is nobody to answer yet; the event that it runs is the quickest sign that there is.
  const viewable = live && vm.state !== 'starting';
  useEffect(() => {
    if (viewable) session.start();
    else session.stop();
  }, [session, viewable]);
  useEffect(() => () => session.dispose(), [session]);
  // Who starts a machine wants to type into it.
  useEffect(() => {
    if (vm.state === 'running' && tab === 'display' && document.activeElement?.closest('[role=dialog], [role=menu]') == null)
      display.current?.focus();
    if (vm.state !== 'running') display.current?.leave();
  }, [vm.state, tab]);
  // Ctrl+W meant for the guest must not take the page away.
  useEffect(() => {
    if (!captured || vm.state !== 'running' || lodge.kind === 'electron') return;
    const onUnload = (e: BeforeUnloadEvent): void => e.preventDefault();
    window.addEventListener('beforeunload', onUnload);
    return () => window.removeEventListener('beforeunload', onUnload);
  }, [captured, vm.state, lodge.kind]);
  useEffect(() => {
    const onChange = (): void => {
      const on = document.fullscreenElement !== null;
      setFullscreen(on);
      const keyboard = (navigator as { keyboard?: { lock?: () => Promise<void>; unlock?: () => void } }).keyboard;
      // With the lock Escape, Alt+Tab and their like reach the guest; the host key still leaves.
      if (on) keyboard?.lock?.().catch(() => {});
      else keyboard?.unlock?.();
      if (on) display.current?.focus();
    };
    document.addEventListener('fullscreenchange', onChange);
    return () => document.removeEventListener('fullscreenchange', onChange);
  }, []);

  /** After a menu, which gives the focus back to its button first. */
  const refocus = (): void => {
    setTimeout(() => {
      if (document.activeElement?.closest('[role=dialog]') == null) display.current?.focus();
    }, 50);
  };
  const setScale = (mode: ScaleMode): void => {
    refocus();
    lodge.kept.getState().setScale(scaleKey(id, window.screen), mode);
  };
  const toggleFullscreen = (): void => {
    if (document.fullscreenElement !== null) void document.exitFullscreen();
    else
      root.current
        ?.requestFullscreen()
        .catch(() => lodge.notices.getState().say('warning', 'The browser does not allow full screen here.'));
  };
  const onCommand = (command: HostCommand): void => {
    switch (command) {
      case 'fullscreen':
        toggleFullscreen();
        break;
      case 'ctrlAltDelete':
        commands.sendKeys('<ctrl+alt+delete>');
        break;
      case 'screenshot':
        commands.screenshot();
        break;
      case 'pause':
        if (commands.allowed.pause) commands.run('pause');
        break;
    }
  };
  const close = (): void => {
    const leave = (): void => navigate({ view: 'library' });
    if (!live) leave();
    else if (closeAction === 'ask') askClose(lodge, vm, leave);
    else {
      if (closeAction !== 'keepRunning') void lodge.vms.getState().command(id, closeAction);
      leave();
    }
  };

  return (
    <div className={classes.window} ref={root} data-fullscreen={fullscreen || undefined}>
      <Toolbar
        vm={vm}
        commands={commands}
        scale={scale}
        onScale={setScale}
        onSendKeys={(keys) => {
          commands.sendKeys(keys);
          refocus();
        }}
        fullscreen={fullscreen}
        onFullscreen={toggleFullscreen}
        onClose={lodge.kind === 'server' ? close : undefined}
        display={tab === 'display'}
      />
      <Tabs
        value={tab}
        onChange={(v) => setTab(v ?? 'display')}
        className={classes.tabs ?? ''}
        keepMounted={false}
        // React's Activity would take a hidden display's effects away, and its picture with them.
        keepMountedMode="display-none"
        variant="pills"
        radius="sm"
      >
        <Tabs.List className={classes.tabList ?? ''}>
          <Tabs.Tab value="display" leftSection={<IconDeviceDesktop size={15} />}>
            Display
          </Tabs.Tab>
          {Array.from({ length: serialPorts }, (_, port) => (
            <Tabs.Tab key={port} value={`serial-${port}`} leftSection={<IconTerminal2 size={15} />}>
              {`Serial ${port + 1}`}
            </Tabs.Tab>
          ))}
          <Tabs.Tab value="performance" leftSection={<IconActivityHeartbeat size={15} />}>
            Performance
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="display" keepMounted className={classes.panel ?? ''}>
          <Display
            ref={display}
            session={session}
            name={name}
            scale={scale}
            hostKey={hostKey}
            platform={lodge.platform}
            visible={tab === 'display'}
            active={vm.state === 'running' || vm.state === 'stopping'}
            onCapture={setCaptured}
            onCommand={onCommand}
          />
          <Overlay vm={vm} commands={commands} hasPicture={screen.width > 0} />
        </Tabs.Panel>
        {Array.from({ length: serialPorts }, (_, port) => (
          <Tabs.Panel key={port} value={`serial-${port}`} className={classes.panel ?? ''}>
            <Terminal session={session} port={port} label={`Serial ${port + 1} of ${name}`} />
          </Tabs.Panel>
        ))}
        <Tabs.Panel value="performance" className={classes.panel ?? ''}>
          <Performance vm={vm} commands={commands} />
        </Tabs.Panel>
      </Tabs>
      <StatusBar vm={vm} session={session} captured={captured && tab === 'display'} hostKey={hostKey} />
      <DropTarget vmId={id} />
    </div>
  );
}
