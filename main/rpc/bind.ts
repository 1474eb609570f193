/**
 * The contract bound to its handlers. Every transport ends here: input is validated before and output after the handler, and
 * whatever is thrown becomes an error a person can read.
 */
import { z } from 'zod';
import { contract, LodgeError, type CallResult, type Handlers, type ProcedureName } from '../../preload/contract';
import { silentLogger, type Logger } from '../lib/log';

/** Never rejects. */
export type Call = (name: unknown, input: unknown) => Promise<CallResult<unknown>>;

export function bind(handlers: Handlers, log: Logger = silentLogger): Call {
  return async (name, input) => {
    try {
      if (typeof name !== 'string' || !Object.hasOwn(contract, name)) {
        throw new LodgeError({
          code: 'invalidInput',
          message: `There is no call named ${JSON.stringify(name)?.slice(0, 80)}.`,
          fix: 'Both sides must be of the same version of Lodge. Reload the page.',
        });
      }
      const procedure = contract[name as ProcedureName];
      const parsed = procedure.input.safeParse(input);
      if (!parsed.success)
        throw new LodgeError({
          code: 'invalidInput',
          message: firstProblem(parsed.error),
          detail: `${name}\n${z.prettifyError(parsed.error)}`,
        });
      const handler = handlers[name as ProcedureName] as (input: unknown) => Promise<unknown>;
      const output = procedure.output.safeParse(await handler(parsed.data));
      if (!output.success)
        throw new Error(`${name} gave an answer that does not fit the contract: ${z.prettifyError(output.error)}`);
      return { ok: true, value: output.data };
    } catch (e) {
      const error = LodgeError.from(e);
      if (error.code === 'internal') log.error({ call: name, error: error.detail ?? error.message }, 'a call failed');
      return { ok: false, error: error.toData() };
    }
  };
}

function firstProblem(error: z.ZodError): string {
  const issue = error.issues[0];
  if (!issue) return 'The input is not valid.';
  const where = issue.path.join('.');
  return where === '' ? issue.message : `${where}: ${issue.message}`;
}
