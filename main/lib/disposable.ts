/** Explicit lifetime. Every subscription, descriptor, timer and child process belongs to one of these. */
export interface Disposable {
  dispose(): void;
}

export class DisposableStore implements Disposable {
  private readonly items = new Set<Disposable>();
  private disposed = false;

  /** Takes ownership; disposes at once when the store is gone already. */
  add<T extends Disposable>(item: T): T {
    if (this.disposed) item.dispose();
    else this.items.add(item);
    return item;
  }

  addCallback(dispose: () => void): void {
    this.add({ dispose });
  }

  get size(): number {
    return this.items.size;
  }

  /** In reverse order of adding; later failures still dispose the rest, the first error is rethrown. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    let failure: unknown;
    for (const item of [...this.items].reverse()) {
      try {
        item.dispose();
      } catch (e) {
        failure ??= e;
      }
    }
    this.items.clear();
    if (failure !== undefined) throw failure;
  }
}

/** One event, many listeners, each with its own lifetime. A listener that throws does not silence the others. */
export class Emitter<T> implements Disposable {
  private readonly listeners = new Set<(value: T) => void>();

  readonly event = (listener: (value: T) => void): Disposable => {
    this.listeners.add(listener);
    return { dispose: () => this.listeners.delete(listener) };
  };

  fire(value: T): void {
    let failure: unknown;
    for (const listener of [...this.listeners]) {
      try {
        listener(value);
      } catch (e) {
        failure ??= e;
      }
    }
    if (failure !== undefined) throw failure;
  }

  dispose(): void {
    this.listeners.clear();
  }
}
