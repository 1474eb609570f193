/** Errors as every side of Lodge sees them: a code to branch on, and words a person can act on. */
import { z } from 'zod';

export const ERROR_CODES = [
  'invalidInput', // the call does not fit its schema
  'notFound', // no such VM, disk, file…
  'invalidState', // the VM's state does not allow this now
  'fileMissing', // a file the VM needs is not there or not readable
  'fileInvalid', // a file is there but is not what it should be (0 bytes, wrong format…)
  'fileInUse', // another VM has it open for writing
  'insufficientMemory', // admission control: would not fit the host
  'insufficientSpace',
  'nameTaken',
  'mediumLocked', // the guest has locked the disc in its drive
  'portInUse',
  'permissionDenied',
  'acceleratorUnavailable',
  'vmCrashed', // the VM process ended unexpectedly
  'timeout',
  'unsupported',
  'internal', // a bug in Lodge
] as const;

/** Words for people, from processes that need not be trusted: long enough for a stack, too short to flood anybody. */
export const boundedTextSchema = z.string().max(1 << 16);

export const lodgeErrorSchema = z.object({
  code: z.enum(ERROR_CODES),
  /** One line: what happened, in plain words. */
  message: boundedTextSchema,
  /** What to do about it, when there is something. */
  fix: boundedTextSchema.optional(),
  /** Technical detail to expand and copy. */
  detail: boundedTextSchema.optional(),
});
export type LodgeErrorData = z.infer<typeof lodgeErrorSchema>;
export type ErrorCode = LodgeErrorData['code'];

export class LodgeError extends Error {
  override readonly name = 'LodgeError';
  readonly code: ErrorCode;
  readonly fix?: string;
  readonly detail?: string;
  constructor(data: LodgeErrorData, options?: ErrorOptions) {
    super(data.message, options);
    this.code = data.code;
    if (data.fix !== undefined) this.fix = data.fix;
    if (data.detail !== undefined) this.detail = data.detail;
  }
  toData(): LodgeErrorData {
    return {
      code: this.code,
      message: this.message,
      ...(this.fix !== undefined && { fix: this.fix }),
      ...(this.detail !== undefined && { detail: this.detail }),
    };
  }
  /** Anything thrown → data; an unknown error is a bug and keeps its stack as detail. */
  static from(error: unknown): LodgeError {
    if (error instanceof LodgeError) return error;
    const parsed = lodgeErrorSchema.safeParse(error);
    if (parsed.success) return new LodgeError(parsed.data);
    const e = error instanceof Error ? error : new Error(String(error));
    return new LodgeError({ code: 'internal', message: e.message || 'Unexpected error', ...(e.stack && { detail: e.stack }) });
  }
}
