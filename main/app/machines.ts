/** The shell's own view of the library: names, states and preferences, kept current by the contract's events. */
import { contract, type Preferences, type Vm } from '../../preload/contract';
import { DisposableStore, Emitter, type Disposable } from '../lib/disposable';
import type { ControlPlane } from './control-plane';

export class Machines implements Disposable {
  private readonly vms = new Map<string, Vm>();
  private readonly store = new DisposableStore();
  private readonly changed = this.store.add(new Emitter<Vm | { removed: string }>());
  readonly onChange = this.changed.event;
  private current: Preferences | undefined;

  constructor(private readonly control: ControlPlane) {
    this.store.add(
      control.onEvent((event) => {
        switch (event.type) {
          case 'vm':
            this.vms.set(event.vm.definition.id, event.vm);
            this.changed.fire(event.vm);
            return;
          case 'vmRemoved':
            this.vms.delete(event.id);
            this.changed.fire({ removed: event.id });
            return;
          case 'preferences':
            this.current = event.preferences;
            return;
          case 'host':
          case 'notice':
          case 'job':
            return;
          default:
            event satisfies never;
        }
      }),
    );
  }

  async load(): Promise<void> {
    const result = await this.control.call('app.snapshot', undefined);
    if (!result.ok) throw new Error(result.error.message);
    const snapshot = contract['app.snapshot'].output.parse(result.value);
    this.current = snapshot.preferences;
    // Events that arrived meanwhile are newer.
    for (const vm of snapshot.vms) if (!this.vms.has(vm.definition.id)) this.vms.set(vm.definition.id, vm);
  }

  get(id: string): Vm | undefined {
    return this.vms.get(id);
  }

  get preferences(): Preferences | undefined {
    return this.current;
  }

  /** Everything that has a process. */
  get running(): Vm[] {
    return [...this.vms.values()].filter((vm) => vm.state !== 'stopped');
  }

  /** Resolves when the VM has stopped, or with false after the time. */
  stopped(id: string, milliseconds: number): Promise<boolean> {
    const isStopped = (): boolean => (this.vms.get(id)?.state ?? 'stopped') === 'stopped';
    if (isStopped()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (result: boolean): void => {
        clearTimeout(timer);
        subscription.dispose();
        resolve(result);
      };
      const timer = setTimeout(() => end(false), milliseconds);
      const subscription = this.onChange(() => isStopped() && end(true));
    });
  }

  dispose(): void {
    this.store.dispose();
  }
}
