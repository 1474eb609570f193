/** Files the desktop asks the application to open: macOS does so before it is ready, long before there is a window to show them in. */
export class OpenedFiles {
  private waiting: string[] = [];
  private listener: ((paths: readonly string[]) => void) | undefined;

  open(path: string): void {
    if (this.listener) this.listener([path]);
    else this.waiting.push(path);
  }

  /** Hears of what comes; returns what came before. */
  listen(listener: (paths: readonly string[]) => void): string[] {
    this.listener = listener;
    return this.waiting.splice(0);
  }
}
