/** What the Electron shell needs of the control plane; the composition root provides it. */
import type { CallResult, LodgeEvent } from '../../preload/contract';
import type { Disposable } from '../lib/disposable';

export interface ControlPlane {
  /** Any call of the contract; validates, and never rejects. */
  call(name: string, input: unknown): Promise<CallResult<unknown>>;
  onEvent(listener: (event: LodgeEvent) => void): Disposable;
  /** Hands one end of a viewer channel (a MessagePortMain) to the VM's process; false when the VM is not running. */
  openViewer(vmId: string, port: unknown): boolean;
  /** Stops what still runs, flushes disks and settings. */
  shutdown(): Promise<void>;
}
