/** Byte chunks → lines, with bounds: both ends of every pipe here may be hostile. */

/** Calls `onLine` for each line without its newline; a longer line than `maxLength` is cut and counted as one. */
export class LineSplitter {
  private pending = '';
  private skipping = false;

  constructor(
    private readonly onLine: (line: string) => void,
    private readonly maxLength: number,
    /** Told once for each line that was too long; without it the cut line is delivered. */
    private readonly onOverflow?: () => void,
  ) {}

  push(chunk: string): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf('\n', start);
      const piece = end < 0 ? chunk.slice(start) : chunk.slice(start, end);
      if (!this.skipping) {
        this.pending += piece;
        if (this.pending.length > this.maxLength) {
          this.skipping = true;
          const cut = this.pending.slice(0, this.maxLength);
          this.pending = '';
          if (this.onOverflow) this.onOverflow();
          else this.onLine(cut);
        }
      }
      if (end < 0) return;
      const line = this.pending;
      const skipped = this.skipping;
      this.pending = '';
      this.skipping = false;
      start = end + 1;
      if (!skipped) this.onLine(line.endsWith('\r') ? line.slice(0, -1) : line);
    }
  }

  /** The stream ended; what has no newline yet is a line too. */
  end(): void {
    if (this.pending !== '') this.onLine(this.pending);
    this.pending = '';
    this.skipping = false;
  }
}

/** The last lines of a stream that may be endless. */
export class LineTail {
  private readonly lines: string[] = [];
  private readonly splitter: LineSplitter;

  constructor(
    private readonly maxLines = 40,
    maxLineLength = 400,
  ) {
    this.splitter = new LineSplitter((line) => {
      this.lines.push(line);
      if (this.lines.length > this.maxLines) this.lines.shift();
    }, maxLineLength);
  }

  push(chunk: string): void {
    this.splitter.push(chunk);
  }

  /** Takes an unfinished last line as well. */
  text(): string {
    this.splitter.end();
    return this.lines.join('\n');
  }
}
