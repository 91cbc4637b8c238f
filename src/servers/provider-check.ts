/** Asking a provider while a client waits for the answer. */
import type { FieldProblem } from '../errors.ts';
import { ProviderError, type ServerSpec } from '../providers/contract.ts';
import type { ProviderRegistry } from '../providers/registry.ts';

/** A request waits no longer than this for its turn at a provider. Seconds. */
const PATIENCE = 5;
/** A provider that takes longer counts as away, whatever it does meanwhile. */
const ANSWER_MS = 10_000;

/** Null: the provider did not answer in time. @throws whatever `ask` throws. */
export async function askInTime<T>(
  ask: (options: { patience: number; signal: AbortSignal }) => Promise<T>,
): Promise<T | null> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  try {
    return await ask({ patience: PATIENCE, signal });
  } catch (error) {
    if (signal.aborted && error === signal.reason) return null;
    throw error;
  }
}

/**
 * Everything wrong with a spec as its provider sees it. Null: the provider is away, hangs, or refuses our credentials.
 * That does not stop a request from being accepted: its operation waits, or fails with the reason.
 */
export async function providerProblems(
  providers: ProviderRegistry,
  name: string,
  spec: ServerSpec,
): Promise<FieldProblem[] | null> {
  try {
    return await askInTime((options) => providers.validate(name, spec, options));
  } catch (error) {
    if (error instanceof ProviderError) return null;
    throw error;
  }
}
