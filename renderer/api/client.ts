/** Typed client of the contract: every reply is checked, every failure is a LodgeError. */
import { contract, LodgeError, type Input, type Output, type ProcedureName } from '../../preload/contract';
import type { Transport } from './transport';

export class Api {
  constructor(readonly transport: Transport) {}

  async call<N extends ProcedureName>(
    name: N,
    ...input: undefined extends Input<N> ? [input?: Input<N>] : [input: Input<N>]
  ): Promise<Output<N>> {
    let reply: unknown;
    try {
      // null rather than undefined: JSON transports drop the latter.
      reply = await this.transport.call(name, input[0] ?? null);
    } catch (e) {
      throw new LodgeError({
        code: 'timeout',
        message: 'Lodge did not answer.',
        fix: 'The connection may be gone; it is tried again by itself.',
        detail: e instanceof Error ? e.message : String(e),
      });
    }
    if (!isReply(reply)) throw mismatch(name, 'not a call result');
    if (!reply.ok) throw LodgeError.from(reply.error);
    const parsed = contract[name].output.safeParse(reply.value ?? undefined);
    if (!parsed.success) throw mismatch(name, parsed.error.message);
    return parsed.data as Output<N>;
  }
}

const isReply = (reply: unknown): reply is { ok: boolean; value?: unknown; error?: unknown } =>
  typeof reply === 'object' && reply !== null && typeof (reply as { ok?: unknown }).ok === 'boolean';

const mismatch = (name: string, detail: string): LodgeError =>
  new LodgeError({
    code: 'internal',
    message: 'Lodge’s answer could not be understood.',
    fix: 'Reload the page: it may be older than the Lodge it talks to.',
    detail: `${name}: ${detail}`,
  });
