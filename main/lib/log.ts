/**
 * Logging of the control plane. Everybody takes a `Logger`; who writes it is decided in the composition root. pino is
 * loaded only where a log is really written, since `lodge run` must start at once.
 */
import { renameSync, statSync } from 'node:fs';

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => {};
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

/** One generation back is kept; a log is for the last weeks, not for ever. */
const MAX_LOG_BYTES = 4 << 20;

export type LogTarget = { file: string } | { fd: number };

/** JSON lines. A log file that cannot be opened is no reason not to work: then it is silent. */
export async function createLogger(target: LogTarget, level = process.env['LODGE_LOG'] ?? 'info'): Promise<Logger> {
  const { default: pino } = await import('pino');
  const known = ['debug', 'info', 'warn', 'error'].includes(level) ? level : 'info';
  try {
    if ('file' in target && (statSync(target.file, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES)
      renameSync(target.file, `${target.file}.old`);
    // Synchronous: lines written just before a crash are those one needs, and the control plane writes few.
    const destination =
      'file' in target
        ? pino.destination({ dest: target.file, sync: true, mkdir: true, append: true })
        : pino.destination({ fd: target.fd, sync: true });
    const log = pino({ level: known, base: null }, destination);
    return {
      debug: (fields, message) => log.debug(fields, message),
      info: (fields, message) => log.info(fields, message),
      warn: (fields, message) => log.warn(fields, message),
      error: (fields, message) => log.error(fields, message),
    };
  } catch {
    return silentLogger;
  }
}
