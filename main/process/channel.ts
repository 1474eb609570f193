/** How the control plane reaches one VM process, whatever started it: Node's child_process or Electron's utilityProcess. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface VmChannel {
  readonly pid: number | undefined;
  /** `transfer`: the upgraded socket (Node) or the MessagePortMain (Electron) of a viewer. Never throws; false: it is gone. */
  send(message: unknown, transfer?: unknown): boolean;
  kill(): void;
}

/** All are called asynchronously, `onExit` exactly once and last. A spawn that fails is an exit with a stderr text. */
export interface VmChannelListener {
  onMessage(message: unknown): void;
  onStderr(text: string): void;
  onExit(exit: ProcessExit): void;
}

export interface SpawnOptions {
  /** For people who look at a process list. */
  readonly name: string;
  /** Guest serial on this process's stdin and stdout. */
  readonly serialStdio: boolean;
}

export type Spawner = (options: SpawnOptions, listener: VmChannelListener) => VmChannel;
