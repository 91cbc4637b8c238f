import type { StepCall } from '../engine/procedure.ts';
import { type Provider, ProviderError } from '../providers/contract.ts';
import { type ProviderRegistry, providerQueue } from '../providers/registry.ts';

/** What the procedures that change an existing server are given. Ids only: the rest is observed. */
export interface ServerChange {
  server_id: string;
  provider: string;
  /** The provider's id; null where the server never got that far. */
  provider_ref: string | null;
  /** The operation that made it: its label finds the server where there is no ref. */
  create_operation_id: string;
  previous_status: string;
}

export const queueOf = (input: { provider: string }): string => providerQueue(input.provider);

/**
 * Works with the account that the workspace uses. Credentials that are replaced meanwhile may stop being accepted in the
 * middle of it: then it is done again with the new ones. The work looks before it acts, so doing it again is safe.
 */
export function withAccount<T>(
  providers: ProviderRegistry,
  name: string,
  workspace: string,
  work: (provider: Provider) => Promise<T>,
): Promise<T> {
  return withOpened(() => providers.for(name, workspace), work);
}

/** The same with any account: `open` answers the one that is used at the time. */
export async function withOpened<T>(
  open: () => Promise<Provider>,
  work: (provider: Provider) => Promise<T>,
): Promise<T> {
  for (;;) {
    const provider = await open();
    try {
      return await work(provider);
    } catch (error) {
      if (!isRefusal(error) || (await open()) === provider) throw error;
    }
  }
}

/** Whether a provider did not accept the credentials. */
export function isRefusal(error: unknown): error is ProviderError {
  return error instanceof ProviderError && error.code === 'AUTHENTICATION_FAILED';
}

/** The options every provider call takes. `operationId` is the operation whose label the thing carries. */
export function callOptions(call: StepCall, operationId = call.operationId) {
  const onNotice = (notice: string) => void call.log(notice);
  return { operationId, guard: call.guard, repeated: call.repeated, onNotice, ...lookOptions(call) };
}

/** The operation's events tell what it waits for, and such waiting does not use up the step's time. */
export function tellOf(call: StepCall) {
  return { onWait: (reason: string) => void call.log(reason), onWaited: call.waited };
}

/** What a provider call that only looks is given: the operation's events tell what it waits for. */
export function lookOptions(call: StepCall) {
  return { signal: call.signal, ...tellOf(call) };
}

/** The server's ref, looked up by its label where it is not known. Null: nothing was ever made. */
export async function findRef(provider: Provider, input: ServerChange, call: StepCall): Promise<string | null> {
  if (input.provider_ref !== null) return input.provider_ref;
  const found = await provider.findServer(input.create_operation_id, lookOptions(call));
  return found?.ref ?? null;
}
