/** Counts a controller's unfinished requests, so that a reset can wait for the last one to leave guest memory alone. */
export class InFlight {
  private count = 0;
  private waiting: (() => void)[] = [];

  /** Runs `work` and then `done` or `failed`: at once when the work was, else later. */
  run(work: () => void | Promise<void>, done: () => void, failed: (error: unknown) => void): void {
    let running: void | Promise<void>;
    try {
      running = work();
    } catch (error) {
      failed(error);
      return;
    }
    if (!running) {
      done();
      return;
    }
    this.count++;
    const settle = (then: () => void): void => {
      this.count--;
      then();
      if (this.count === 0) for (const wake of this.waiting.splice(0)) wake();
    };
    running.then(
      () => settle(done),
      (error: unknown) => settle(() => failed(error)),
    );
  }

  get busy(): boolean {
    return this.count > 0;
  }

  idle(): Promise<void> | void {
    if (this.count > 0) return new Promise((resolve) => this.waiting.push(resolve));
  }
}
