import type { Client, Operation } from '../sdk/client.ts';
import { InterruptedError } from './errors.ts';
import { createStepTeller } from './step-teller.ts';
import type { Terminal } from './terminal.ts';

/**
 * Shows on standard error what happens to an operation until it has ended. Ctrl-C leaves it running, or cancels it where
 * asked. A server that goes away meanwhile is said so and waited for.
 * @throws InterruptedError, ApiError, ConnectionError.
 */
export async function followToEnd(
  client: Client,
  terminal: Terminal,
  started: Operation,
  cancelOnInterrupt: boolean,
): Promise<Operation> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new InterruptedError('interrupted'));
  process.once('SIGINT', interrupt);
  const begin = performance.now();
  const elapsed = () => `${((performance.now() - begin) / 1_000).toFixed(1).padStart(6)} s`;
  const note = (text: string) => terminal.note(`${terminal.paint('dim', elapsed())}  ${text}`);
  let away = false;
  const onLost = () => {
    if (!away) note(terminal.paint('yellow', 'lost the connection to the server; reconnecting'));
    away = true;
  };
  const steps = createStepTeller(client, started, note);
  terminal.note(`Operation ${started.id}: ${started.kind}`);
  try {
    for await (const event of client.follow(started.id, { signal: interrupted.signal, onLost })) {
      away = false;
      if (event.type === 'log') note(lineOf(event));
      else terminal.status(`${elapsed()}  ${started.kind} ${event.status ?? `${event.progress ?? 0} %`}`);
      if (event.type === 'progress') await steps.look();
    }
    await steps.end();
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    throw new InterruptedError(await afterInterrupt(client, started.id, cancelOnInterrupt));
  } finally {
    process.off('SIGINT', interrupt);
  }
  const ended = await client.get('/v1/operations/{id}', { path: { id: started.id } });
  const color = ended.status === 'completed' ? 'green' : ended.status === 'failed' ? 'red' : 'yellow';
  note(terminal.paint(color, `${ended.kind} ${ended.status}`));
  return ended;
}

/** A line of a log with the host it came from, which some lines name themselves. */
export function lineOf({ line = '', host }: { line?: string; [field: string]: unknown }): string {
  return typeof host !== 'string' || line.startsWith(`${host}: `) ? line : `${host}: ${line}`;
}

async function afterInterrupt(client: Client, id: string, cancel: boolean): Promise<string> {
  if (!cancel)
    return `Operation ${id} continues. Watch it: provisioning operation logs -f ${id}; cancel it: provisioning operation cancel ${id}`;
  const { status } = await client.post('/v1/operations/{id}/cancel', { path: { id } });
  return `Requested cancellation of operation ${id}. Its status is ${status}.`;
}
