import type { LodgeErrorData, StopReason } from './types';

export interface StopDescription {
  readonly tone: 'neutral' | 'warning' | 'error';
  readonly title: string;
  readonly message: string;
  readonly fix?: string;
  /** Technical text worth copying into a report. */
  readonly report?: string;
}

export function describeStop(reason: StopReason): StopDescription {
  switch (reason.kind) {
    case 'powerOff':
      return { tone: 'neutral', title: 'Powered off', message: 'The guest switched the machine off.' };
    case 'stopped':
      return { tone: 'neutral', title: 'Switched off', message: 'The machine was switched off from Lodge.' };
    case 'debugExit':
      return { tone: 'neutral', title: 'Ended by the guest', message: `The guest wrote ${reason.code} to the debug-exit port.` };
    case 'guestFault':
      return {
        tone: 'error',
        title: 'The guest crashed',
        message: reason.message,
        fix: 'Nothing on the host is harmed and the disks are intact. Start the machine again; if it crashes at the same place, copy the report.',
        report: reason.report,
      };
    case 'failed':
      return {
        tone: 'error',
        title: 'The machine could not run',
        message: reason.error.message,
        ...(reason.error.fix !== undefined && { fix: reason.error.fix }),
        ...(reason.error.detail !== undefined && { report: reason.error.detail }),
      };
    case 'crashed':
      return {
        tone: 'error',
        title: 'The machine’s process ended unexpectedly',
        message: reason.message,
        fix: 'Other machines are not affected. Start it again; please report this with the copied text.',
        report: reason.detail,
      };
  }
}

/** What a person can press to get out of an error, besides reading it. */
export type Remedy = 'settings' | 'preferences' | 'retry';

export function remediesFor(code: LodgeErrorData['code']): readonly Remedy[] {
  switch (code) {
    case 'insufficientMemory':
      return ['settings', 'retry'];
    case 'fileMissing':
    case 'fileInvalid':
    case 'acceleratorUnavailable':
    case 'unsupported':
      return ['settings'];
    case 'fileInUse':
    case 'vmCrashed':
    case 'timeout':
      return ['retry'];
    case 'insufficientSpace':
    case 'permissionDenied':
      return ['preferences', 'retry'];
    case 'invalidInput':
    case 'notFound':
    case 'invalidState':
    case 'nameTaken':
    case 'mediumLocked':
    case 'portInUse':
    case 'internal':
      return [];
  }
}

/** Plain text for the clipboard: everything a bug report needs and nothing that has to be asked for again. */
export function errorReport(context: string, error: { code?: string; message: string; fix?: string; detail?: string }): string {
  const lines = [context, `${error.code !== undefined ? `[${error.code}] ` : ''}${error.message}`];
  if (error.fix !== undefined) lines.push(`Suggested: ${error.fix}`);
  if (error.detail !== undefined) lines.push('', error.detail);
  return lines.join('\n');
}
