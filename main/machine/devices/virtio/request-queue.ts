/**
 * A queue whose chains are requests to the device: they are taken in turns, so that a guest which never stops asking cannot
 * starve the rest, and its interrupt is raised once a turn.
 */
import type { VirtioTransport } from './device';
import type { Chain, QueueFault } from './virtqueue';

export interface RequestQueueOptions {
  readonly index: number;
  /** Requests served before the event loop gets its turn. */
  readonly requestsATurn: number;
  /** Runs a callback in a later turn of the event loop. */
  readonly defer: (callback: () => void) => void;
  /** Answers the chain now with `push`, or later with `pushLater`. A fault ends it all: the device needs a reset. */
  readonly serve: (chain: Chain) => QueueFault | 'badRequest' | undefined;
}

export class RequestQueue {
  private transport: VirtioTransport | undefined;
  private deferred = false;

  constructor(private readonly options: RequestQueueOptions) {}

  start(transport: VirtioTransport): void {
    this.transport = transport;
  }

  stop(): void {
    this.transport = undefined;
  }

  notify(): void {
    const { transport } = this;
    const { index, requestsATurn, serve } = this.options;
    const queue = transport?.queue(index);
    if (!transport || !queue) return;
    for (let served = 0; served < requestsATurn; served++) {
      const chain = queue.pop();
      const fault = !chain.ok ? chain.error : chain.value && serve(chain.value);
      if (fault) {
        transport.fail(fault);
        return;
      }
      if (chain.ok && !chain.value) {
        transport.signal(index);
        return;
      }
    }
    transport.signal(index);
    this.later();
  }

  /** Gives a chain back from within `serve`. */
  push(chain: Chain, written: number): QueueFault | undefined {
    return this.transport?.queue(this.options.index)?.push(chain.head, written);
  }

  /** Gives a chain back after `serve`. The caller knows that no reset came between. */
  pushLater(chain: Chain, written: number): void {
    const { transport } = this;
    const fault = this.push(chain, written);
    if (fault) transport?.fail(fault);
    else transport?.signal(this.options.index);
  }

  fail(fault: QueueFault | 'badRequest'): void {
    this.transport?.fail(fault);
  }

  private later(): void {
    if (this.deferred) return;
    this.deferred = true;
    this.options.defer(() => {
      this.deferred = false;
      this.notify();
    });
  }
}
