import { ActionIcon, Button, Menu, SegmentedControl, Text, TextInput, Title, Tooltip } from '@mantine/core';
import {
  IconFileX,
  IconInfoCircle,
  IconLayoutGrid,
  IconLayoutList,
  IconPlus,
  IconSearch,
  IconSettings,
  IconX,
} from '@tabler/icons-react';
import { useDeferredValue, useEffect, useMemo, useRef, useState, type KeyboardEvent, type MouseEvent } from 'react';
import { useStore } from 'zustand';
import { DropTarget } from '../../components/drop-target';
import { navigate, useHost, useLodge, usePreferences } from '../../components/lodge-context';
import { Logo } from '../../components/logo';
import { OsIcon } from '../../components/os-icon';
import { Sparkline } from '../../components/sparkline';
import { StateBadge } from '../../components/state-badge';
import { Thumbnail } from '../../components/thumbnail';
import { useVmCommands } from '../../components/vm-commands';
import { isLive } from '../../model/actions';
import { findOs } from '../../model/catalogue';
import { formatBytes, formatMiB, plural, shortPath } from '../../model/format';
import { moveSelection, searchVms } from '../../model/library';
import type { Vm } from '../../model/types';
import { Details } from './details';
import { EmptyLibrary } from './empty-library';
import classes from './library.module.css';
import { VmMenuItems } from './vm-menu';

export function Library() {
  const { vms, library, preferences, notices, catalogue } = useLodge();
  const byId = useStore(vms, (s) => s.byId);
  const broken = useStore(vms, (s) => s.broken);
  const search = useStore(library, (s) => s.search);
  const selectedId = useStore(library, (s) => s.selected);
  const { standing, dismissed } = useStore(notices);
  const { libraryView } = usePreferences();
  const [brokenClosed, setBrokenClosed] = useState(false);
  const searchBox = useRef<HTMLInputElement>(null);
  const query = useDeferredValue(search);
  const all = useMemo(() => Object.values(byId), [byId]);
  const shown = useMemo(() => searchVms(all, query, catalogue), [all, query, catalogue]);
  const selected = shown.find((vm) => vm.definition.id === selectedId);

  useEffect(() => {
    document.title = 'Lodge';
    const onKey = (e: globalThis.KeyboardEvent): void => {
      if ((e.ctrlKey || e.metaKey) && e.key === 'f') {
        e.preventDefault();
        searchBox.current?.select();
      }
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
  // Something is always selected: the details pane is half of this view.
  useEffect(() => {
    if (selected === undefined && shown[0] !== undefined) library.getState().select(shown[0].definition.id);
  }, [selected, shown, library]);

  return (
    <div className={classes.page}>
      <header className={classes.header}>
        <div className={classes.brand}>
          <Logo />
          <Title order={1} fz={17} fw={680} lts={-0.2}>
            Lodge
          </Title>
        </div>
        <TextInput
          ref={searchBox}
          className={classes.search ?? ''}
          leftSection={<IconSearch size={16} />}
          placeholder="Search machines"
          aria-label="Search machines"
          value={search}
          onChange={(e) => library.getState().setSearch(e.currentTarget.value)}
          onKeyDown={(e) => e.key === 'Escape' && library.getState().setSearch('')}
          rightSection={
            search !== '' && (
              <ActionIcon
                variant="subtle"
                color="gray"
                size="sm"
                aria-label="Clear search"
                onClick={() => library.getState().setSearch('')}
              >
                <IconX size={14} />
              </ActionIcon>
            )
          }
        />
        <div className={classes.tools}>
          <SegmentedControl
            size="xs"
            aria-label="View"
            value={libraryView}
            onChange={(v) => void preferences.getState().change({ libraryView: v === 'grid' ? 'grid' : 'list' })}
            data={[
              { value: 'list', label: <ViewIcon label="List" icon={<IconLayoutList size={16} />} /> },
              { value: 'grid', label: <ViewIcon label="Grid" icon={<IconLayoutGrid size={16} />} /> },
            ]}
          />
          <Tooltip label="Preferences">
            <ActionIcon
              variant="subtle"
              color="gray"
              size={34}
              aria-label="Preferences"
              onClick={() => navigate({ view: 'preferences' })}
            >
              <IconSettings size={19} />
            </ActionIcon>
          </Tooltip>
          <Button leftSection={<IconPlus size={17} />} onClick={() => navigate({ view: 'new' })}>
            New machine
          </Button>
        </div>
      </header>

      {standing
        .filter((n) => !dismissed.includes(n))
        .map((notice) => (
          <div key={notice} className={classes.notice} role="status">
            <IconInfoCircle size={17} />
            <span className="selectable">{notice}</span>
            <ActionIcon
              variant="subtle"
              color="gray"
              size="sm"
              aria-label="Dismiss notice"
              onClick={() => notices.getState().dismissStanding(notice)}
            >
              <IconX size={14} />
            </ActionIcon>
          </div>
        ))}
      {broken.length > 0 && !brokenClosed && (
        <div className={classes.notice} data-tone="warning" role="alert">
          <IconFileX size={17} />
          <div className="selectable">
            <Text size="sm" fw={600}>
              {plural(broken.length, 'machine')} could not be read. Nothing was deleted.
            </Text>
            {broken.map((b) => (
              <Text size="xs" key={b.folder}>
                {b.folder}: {b.message} The file was set aside as <code>{b.setAside}</code>; repair it, rename it back to{' '}
                <code>machine.json</code> and start Lodge again.
              </Text>
            ))}
          </div>
          <ActionIcon variant="subtle" color="gray" size="sm" aria-label="Dismiss" onClick={() => setBrokenClosed(true)}>
            <IconX size={14} />
          </ActionIcon>
        </div>
      )}

      {all.length === 0 ? (
        <EmptyLibrary />
      ) : (
        <div className={classes.body}>
          <VmCollection vms={shown} view={libraryView} selectedId={selected?.definition.id ?? null} search={query} />
          {selected !== undefined && <Details key={selected.definition.id} vm={selected} />}
        </div>
      )}
      <HostBar running={all.filter((vm) => isLive(vm.state)).length} total={all.length} />
      <DropTarget />
    </div>
  );
}

function ViewIcon({ label, icon }: { label: string; icon: React.ReactNode }) {
  return (
    <span className={classes.viewIcon} title={label}>
      {icon}
      <span className={classes.hidden}>{label}</span>
    </span>
  );
}

interface MenuAt {
  readonly id: string;
  readonly x: number;
  readonly y: number;
}

function VmCollection({
  vms,
  view,
  selectedId,
  search,
}: {
  vms: readonly Vm[];
  view: 'list' | 'grid';
  selectedId: string | null;
  search: string;
}) {
  const lodge = useLodge();
  const box = useRef<HTMLDivElement>(null);
  const [menu, setMenu] = useState<MenuAt | null>(null);
  const index = vms.findIndex((vm) => vm.definition.id === selectedId);
  const selected = vms[index];
  const menuVm = vms.find((vm) => vm.definition.id === menu?.id);
  const select = lodge.library.getState().select;

  useEffect(() => {
    if (selectedId !== null)
      box.current?.querySelector(`[data-id="${CSS.escape(selectedId)}"]`)?.scrollIntoView({ block: 'nearest' });
  }, [selectedId]);

  const onKeyDown = (e: KeyboardEvent): void => {
    const columns =
      view === 'list' || box.current === null ? 1 : getComputedStyle(box.current).gridTemplateColumns.split(' ').length;
    const next = moveSelection(vms.length, index, columns, e.key);
    if (next !== null) {
      e.preventDefault();
      select(vms[next]!.definition.id);
    } else if ((e.key === 'ContextMenu' || (e.shiftKey && e.key === 'F10')) && selected !== undefined) {
      e.preventDefault();
      const rect = box.current?.querySelector(`[data-id="${CSS.escape(selected.definition.id)}"]`)?.getBoundingClientRect();
      if (rect !== undefined) setMenu({ id: selected.definition.id, x: rect.left + 24, y: rect.bottom - 8 });
    }
  };

  return (
    <main className={classes.main}>
      <div
        ref={box}
        className={view === 'list' ? classes.list : classes.grid}
        role="listbox"
        aria-label="Machines"
        tabIndex={0}
        aria-activedescendant={selectedId !== null ? `vm-${selectedId}` : undefined}
        onKeyDown={onKeyDown}
      >
        {vms.map((vm) => (
          <VmItem
            key={vm.definition.id}
            vm={vm}
            view={view}
            selected={vm.definition.id === selectedId}
            onSelect={() => select(vm.definition.id)}
            onMenu={(e) => {
              e.preventDefault();
              select(vm.definition.id);
              setMenu({ id: vm.definition.id, x: e.clientX, y: e.clientY });
            }}
            listbox={box}
          />
        ))}
      </div>
      {vms.length === 0 && (
        <Text c="dimmed" size="sm" ta="center" mt={80}>
          No machine matches “{search}”.
        </Text>
      )}
      {menu !== null && menuVm !== undefined && (
        <Menu
          key={`${menu.id}-${menu.x}-${menu.y}`}
          opened
          onClose={() => setMenu(null)}
          position="bottom-start"
          offset={0}
          width={210}
          // Not the keydown that opened it, which is still on its way up.
          clickOutsideEvents={['mousedown', 'touchstart']}
        >
          <Menu.Target>
            <span style={{ position: 'fixed', left: menu.x, top: menu.y, width: 1, height: 1 }} />
          </Menu.Target>
          <Menu.Dropdown aria-label={`Actions for ${menuVm.definition.name}`}>
            <VmMenuItems vm={menuVm} />
          </Menu.Dropdown>
        </Menu>
      )}
    </main>
  );
}

interface VmItemProps {
  readonly vm: Vm;
  readonly view: 'list' | 'grid';
  readonly selected: boolean;
  readonly onSelect: () => void;
  readonly onMenu: (e: MouseEvent) => void;
  readonly listbox: React.RefObject<HTMLDivElement | null>;
}

function VmItem({ vm, view, selected, onSelect, onMenu, listbox }: VmItemProps) {
  const { vms, catalogue } = useLodge();
  const commands = useVmCommands(vm);
  const history = useStore(vms, (s) => s.cpuHistory[vm.definition.id]) ?? [];
  const { definition, stats } = vm;
  const builtin = definition.boot.kind === 'builtin';
  const os = builtin ? 'Built-in guest' : findOs(catalogue, definition.os).name;

  // Enter acts on the selected item although the focus stays on the list.
  useEffect(() => {
    const list = listbox.current;
    if (!selected || list === null) return;
    const onKey = (e: globalThis.KeyboardEvent): void => {
      if (e.target !== list) return;
      if (e.key === 'Enter') {
        e.preventDefault();
        commands.open();
      } else if (e.key === 'Delete' && commands.allowed.remove) commands.remove();
    };
    list.addEventListener('keydown', onKey);
    return () => list.removeEventListener('keydown', onKey);
  }, [selected, commands, listbox]);

  const item = {
    id: `vm-${definition.id}`,
    role: 'option',
    'aria-selected': selected,
    'aria-label': definition.name,
    'data-id': definition.id,
    'data-drop-vm': definition.id,
    onMouseDown: onSelect,
    onDoubleClick: commands.open,
    onContextMenu: onMenu,
  };
  if (view === 'grid')
    return (
      <div {...item} className={classes.card}>
        <Thumbnail vm={vm} icon={52} overlay />
        <div className={classes.cardText}>
          <OsIcon os={definition.os} size={30} builtin={builtin} />
          <div className={classes.cardName}>
            <div className={classes.name}>{definition.name}</div>
            <StateBadge vm={vm} compact />
          </div>
        </div>
      </div>
    );
  return (
    <div {...item} className={classes.row}>
      <div className={classes.rowThumb}>
        <Thumbnail vm={vm} icon={28} />
      </div>
      <div className={classes.rowName}>
        <div className={classes.name}>{definition.name}</div>
        <div className={classes.sub}>{os}</div>
      </div>
      <div className={classes.rowStats}>
        {vm.state === 'running' && stats !== undefined && (
          <>
            <Sparkline values={history} />
            <span className="tabular">{Math.round(stats.cpuPercent)} %</span>
          </>
        )}
      </div>
      <div className={`${classes.rowNumbers} tabular`}>
        <div>{plural(definition.cpus, 'CPU')}</div>
        <div className={classes.sub}>{formatMiB(definition.memoryMiB)}</div>
      </div>
      <div className={classes.rowState}>
        <StateBadge vm={vm} />
      </div>
    </div>
  );
}

function HostBar({ running, total }: { running: number; total: number }) {
  const host = useHost();
  const { vms } = useLodge();
  const resident = useStore(vms, (s) => Object.values(s.byId).reduce((sum, vm) => sum + (vm.stats?.residentBytes ?? 0), 0));
  const preferences = usePreferences();
  const used = 1 - host.availableMiB / Math.max(1, host.memoryMiB);
  const kvm = host.accelerators.find((a) => a.kind === 'kvm');
  return (
    <footer className={`${classes.hostBar} tabular`}>
      <span>
        {plural(total, 'machine')}, {running === 0 ? 'none running' : `${running} running`}
      </span>
      <Tooltip label={kvm?.reason ?? 'Only the software CPU is part of this build.'}>
        <span tabIndex={0}>{kvm?.available === true ? 'KVM available' : 'Software CPU'}</span>
      </Tooltip>
      <span className={classes.grow} />
      {resident > 0 && <span>Machines use {formatBytes(resident)}</span>}
      <Tooltip
        label={`${host.cpuModel}, ${plural(host.logicalCpus, 'processor')}. ${formatMiB(host.availableMiB)} of ${formatMiB(host.memoryMiB)} memory are free.`}
      >
        <span className={classes.meterBox} tabIndex={0}>
          Host memory
          <span className={classes.meter}>
            <span
              style={{ width: `${Math.round(used * 100)}%` }}
              data-tone={used > 0.9 ? 'red' : used > 0.75 ? 'amber' : undefined}
            />
          </span>
          {formatMiB(host.availableMiB)} free
        </span>
      </Tooltip>
      <Tooltip label={preferences.vmFolder}>
        <span className={classes.folder}>{shortPath(preferences.vmFolder, 30)}</span>
      </Tooltip>
      <span>{host.version}</span>
    </footer>
  );
}
