/** Changing the power state and the plan of a server at its provider, for procedures. */
import { OperationError, type StepCall } from '../engine/procedure.ts';
import type { Provider, ProviderServer } from '../providers/contract.ts';
import { readServer, untilObserved } from '../providers/observer.ts';
import { callOptions, lookOptions, tellOf } from './server-change.ts';

/** How the server is now, asked for by itself: a list may show how it was before a change. */
export async function lookOnce(provider: Provider, ref: string, call: StepCall): Promise<ProviderServer | null> {
  return readServer(provider, ref, lookOptions(call));
}

/**
 * Starts or stops the server and waits for that. Nothing is sent where it is so already: done before, up to a crash, is not
 * done again, as stopping it once more would interrupt it. @throws SERVER_ERROR.
 */
export async function bringTo(
  provider: Provider,
  ref: string,
  goal: 'running' | 'stopped',
  call: StepCall,
): Promise<void> {
  if ((await lookOnce(provider, ref, call))?.status === goal) return;
  const options = callOptions(call);
  await (goal === 'stopped' ? provider.stopServer(ref, options) : provider.startServer(ref, options));
  const reached = (seen: ProviderServer | null) => seen === null || [goal, 'error'].includes(seen.status);
  const seen = await untilObserved(provider, ref, reached, call.signal, tellOf(call));
  if (seen?.status === goal) return;
  throw new OperationError('SERVER_ERROR', `${provider.name} reports that ${ref} did not reach the state "${goal}".`);
}

/**
 * Gives the server the plan, for which it is stopped. A cloud may start it then.
 * @param running whether it is to run afterwards, or to be stopped.
 */
export async function changePlan(
  provider: Provider,
  ref: string,
  to: { plan: string; zone: string },
  running: boolean,
  call: StepCall,
): Promise<void> {
  if ((await lookOnce(provider, ref, call))?.plan !== to.plan) {
    await bringTo(provider, ref, 'stopped', call);
    await provider.resizeServer?.(ref, to, callOptions(call));
  }
  await bringTo(provider, ref, running ? 'running' : 'stopped', call);
}
