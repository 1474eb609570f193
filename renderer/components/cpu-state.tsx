import { Button, Modal, Text, Tooltip } from '@mantine/core';
import { IconCpu } from '@tabler/icons-react';
import { useMemo, useState, type ReactNode } from 'react';
import { viewCpu, type NamedBit, type Register } from '../model/cpu-state';
import type { CrashedCpu } from '../model/types';
import { CopyTextButton } from './copy-text-button';
import classes from './cpu-state.module.css';

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title}>
      <h3 className={classes.heading}>{title}</h3>
      <div className={`${classes.mono} ${classes.scroll} selectable`}>{children}</div>
    </section>
  );
}

function Bits({ bits }: { bits: readonly NamedBit[] }) {
  return (
    <span className={classes.bits}>
      {bits.map(({ name, meaning }) => (
        <Tooltip key={name} label={meaning} withArrow>
          <span className={classes.bit}>{name}</span>
        </Tooltip>
      ))}
    </span>
  );
}

function RegisterRow({ register: { name, value, bits } }: { register: Register }) {
  return (
    <div className={classes.row}>
      <span className={classes.register}>
        <span className={classes.name}>{name}</span>
        <span className={classes.value}>{value}</span>
      </span>
      <Bits bits={bits} />
    </div>
  );
}

function RegisterGrid({ registers }: { registers: readonly Register[] }) {
  return (
    <div className={classes.grid}>
      {registers.map(({ name, value }) => (
        <div key={name} className={classes.register}>
          <span className={classes.name}>{name}</span>
          <span className={classes.value}>{value}</span>
        </div>
      ))}
    </div>
  );
}

function CpuState({ cpu, report }: { cpu: CrashedCpu; report: string }) {
  const view = useMemo(() => viewCpu(cpu), [cpu]);
  return (
    <div className={classes.view}>
      <div className={classes.summary}>
        <Text size="sm" className="selectable">
          Processor {cpu.vcpu}: {view.summary}
        </Text>
        <CopyTextButton text={report} label="Copy as text" />
      </div>
      <Section title="Where it was">
        <RegisterRow register={view.pointer} />
        <RegisterRow register={view.flags} />
      </Section>
      <Section title="Code around the instruction pointer">
        {view.code.map((line) => (
          <div key={line.address} className={classes.line}>
            <span className={classes.address}>{line.address}</span>
            <span>
              {line.bytes.map(({ text, here }, i) => (
                <span key={i}>
                  <span {...(here && { className: classes.here, 'aria-label': `${text}, at the instruction pointer` })}>
                    {text}
                  </span>{' '}
                </span>
              ))}
            </span>
          </div>
        ))}
      </Section>
      {view.instructions.length > 0 && (
        <Section title="Instructions from there on">
          {view.instructions.map((line, i) => (
            <div key={line.address} className={classes.line} {...(i === 0 && { 'aria-current': 'true' })}>
              <span className={classes.address}>{line.address}</span>
              <span className={classes.machineCode}>{line.bytes}</span>
              <span {...(i === 0 && { className: classes.here })}>{line.text}</span>
            </div>
          ))}
        </Section>
      )}
      <Section title="General registers">
        <RegisterGrid registers={view.general} />
      </Section>
      <Section title="Stack">
        <div className={classes.grid} style={{ gridTemplateColumns: 'repeat(auto-fill, minmax(290px, 1fr))' }}>
          {view.stack.map(({ address, text }) => (
            <div key={address} className={classes.line}>
              <span className={classes.address}>{address}</span>
              <span>{text}</span>
            </div>
          ))}
        </div>
      </Section>
      <Section title="Control registers">
        {view.control.map((register) => (
          <RegisterRow key={register.name} register={register} />
        ))}
      </Section>
      <Section title="Segments and tables">
        <table className={classes.table}>
          <thead>
            <tr>
              {['', 'selector', 'base', 'limit', ''].map((text, i) => (
                <th key={i} scope="col">
                  {text}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {view.segments.map((s) => (
              <tr key={s.name}>
                <th scope="row">{s.name}</th>
                <td>{s.selector}</td>
                <td>{s.base}</td>
                <td>{s.limit}</td>
                <td className={classes.kind}>{s.kind}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Section>
      <Section title="Debug registers">
        <RegisterGrid registers={view.debug} />
      </Section>
    </div>
  );
}

/** Opens the state of a crashed guest’s processor. `name`: the machine’s; `report`: the same as text. */
export function CpuStateButton({ cpu, report, name }: { cpu: CrashedCpu; report: string; name: string }) {
  const [opened, setOpened] = useState(false);
  return (
    <>
      <Button size="compact-xs" variant="default" leftSection={<IconCpu size={13} />} onClick={() => setOpened(true)}>
        CPU state
      </Button>
      <Modal opened={opened} onClose={() => setOpened(false)} title={`CPU state of “${name}” when it crashed`} size={820}>
        <CpuState cpu={cpu} report={report} />
      </Modal>
    </>
  );
}
