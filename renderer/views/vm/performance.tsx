import { Button, Text, Tooltip } from '@mantine/core';
import { IconActivityHeartbeat } from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { LineChart } from '../../components/line-chart';
import { useHost, useLodge } from '../../components/lodge-context';
import type { VmCommands } from '../../components/vm-commands';
import { engineOf } from '../../model/engine';
import { formatBytes, formatDuration, formatMiB, plural } from '../../model/format';
import {
  diskSeries,
  engineRows,
  exitSeries,
  formatCount,
  frameSeries,
  memorySeries,
  niceBytes,
  niceTop,
  NO_HISTORY,
  PERFORMANCE_POINTS,
  vcpuSeries,
  withReading,
} from '../../model/performance';
import { LodgeError, type Vm } from '../../model/types';
import classes from './performance.module.css';

const PERIOD_MS = 1000;
const MIB = 1024 * 1024;

/** Asks once a second while it is looked at, and not otherwise. */
export function Performance({ vm, commands }: { vm: Vm; commands: VmCommands }) {
  const { api } = useLodge();
  const host = useHost();
  const { id, cpus, memoryMiB } = vm.definition;
  const [history, setHistory] = useState(NO_HISTORY);
  const [problem, setProblem] = useState<string>();
  const measurable = vm.state !== 'stopped' && vm.state !== 'starting';

  useEffect(() => {
    if (!measurable) return;
    let wanted = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      timer = undefined;
      if (document.visibilityState === 'visible') {
        try {
          const counters = await api.call('vm.stats', { id });
          if (!wanted) return;
          setProblem(undefined);
          setHistory((before) => withReading(before, counters));
        } catch (e) {
          if (!wanted) return;
          setProblem(LodgeError.from(e).message);
        }
      }
      timer = setTimeout(() => void look(), PERIOD_MS);
    };
    void look();
    return () => {
      wanted = false;
      clearTimeout(timer);
      setHistory(NO_HISTORY);
    };
  }, [api, id, measurable]);

  if (!measurable)
    return (
      <div className={classes.empty}>
        <IconActivityHeartbeat size={40} stroke={1.3} aria-hidden />
        <Text fw={600}>{vm.state === 'starting' ? 'The machine is starting' : 'Nothing to measure'}</Text>
        <Text c="dimmed" size="sm">
          {vm.state === 'starting'
            ? 'Its numbers appear as soon as it runs.'
            : 'Processor, memory, disk and display are shown here while the machine runs.'}
        </Text>
        {commands.allowed.start && (
          <Button mt="xs" onClick={() => commands.run('start')}>
            Start
          </Button>
        )}
      </div>
    );

  const { last, rates } = history;
  const now = rates.at(-1);
  const engine = engineOf(vm, host);
  const disk = diskSeries(history);
  const exits = exitSeries(history);
  const memory = memorySeries(history);
  const peak = (all: readonly { values: readonly number[] }[]): number => Math.max(0, ...all.flatMap(({ values }) => values));
  const memoryTop = niceBytes(Math.max(peak(memory), memoryMiB * MIB), MIB);
  const diskTop = niceBytes(peak(disk), MIB);
  const exitTop = niceTop(peak(exits), 100);
  const halted = now?.vcpus.map((vcpu) => vcpu.haltedPercent);
  const idle = halted?.every((value) => value !== undefined)
    ? halted.reduce<number>((sum, value) => sum + value!, 0) / cpus
    : undefined;
  const waiting = '…';
  return (
    <div className={classes.page}>
      <div className={classes.summary}>
        <span>{engine.label}</span>
        {last && <span className="tabular">up {formatDuration(last.uptimeSeconds)}</span>}
        {vm.state === 'paused' && <span>paused</span>}
        {problem !== undefined && <span role="status">{problem}</span>}
      </div>
      <div className={classes.charts}>
        <LineChart
          title="Processors"
          now={
            now
              ? `${Math.round(now.hostPercent)} % of a host processor${idle === undefined ? '' : ` · guest idle ${Math.round(idle)} %`}`
              : waiting
          }
          series={vcpuSeries(history)}
          top={100}
          topLabel="100 %"
          points={PERFORMANCE_POINTS}
        />
        <LineChart
          title="Memory"
          now={now ? `${formatBytes(now.residentBytes)} of the host for ${formatMiB(memoryMiB)}` : waiting}
          series={memory}
          top={memoryTop}
          topLabel={formatBytes(memoryTop)}
          points={PERFORMANCE_POINTS}
        />
        <LineChart
          title="Disks"
          now={
            now
              ? `read ${formatBytes(now.disk.readBytes)}/s, ${formatCount(now.disk.reads)} requests/s · written ${formatBytes(now.disk.writtenBytes)}/s, ${formatCount(now.disk.writes)} requests/s`
              : waiting
          }
          series={disk}
          top={diskTop}
          topLabel={`${formatBytes(diskTop)}/s`}
          points={PERFORMANCE_POINTS}
        />
        <LineChart
          title="Exits to devices"
          now={now ? `${formatCount(exits.reduce((sum, { values }) => sum + (values.at(-1) ?? 0), 0))}/s` : waiting}
          series={exits}
          top={exitTop}
          topLabel={`${formatCount(exitTop)}/s`}
          points={PERFORMANCE_POINTS}
        />
        <LineChart
          title="Display"
          now={now ? `${Math.round(now.frames)} frames/s` : waiting}
          series={frameSeries(history)}
          top={60}
          topLabel="60 frames/s"
          points={PERFORMANCE_POINTS}
        />
        <section className={classes.engine} aria-label="Engine">
          <h3>Engine, {plural(cpus, 'virtual processor')}</h3>
          <dl className="tabular">
            {engineRows(history).map(({ label, tip, value }) => (
              <Tooltip key={label} label={tip} position="left">
                <div tabIndex={0}>
                  <dt>{label}</dt>
                  <dd>{value}</dd>
                </div>
              </Tooltip>
            ))}
          </dl>
        </section>
      </div>
    </div>
  );
}
