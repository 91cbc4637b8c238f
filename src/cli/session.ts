import { type Client, createClient, type Operation, OperationFailedError } from '../sdk/client.ts';
import type { OptionValues } from './command.ts';
import { type ConfigFile, configPath, contextTokens, readConfig } from './config-file.ts';
import { InterruptedError, UsageError } from './errors.ts';
import { OUTPUTS, type Output, renderRecord, renderRows, type View } from './output.ts';
import type { Terminal } from './terminal.ts';

/** What a command works with: a client that is logged in, and where its answers go. */
export interface Session {
  terminal: Terminal;
  environment: NodeJS.ProcessEnv;
  /** The file with the contexts. */
  configFile: string;
  /** @throws UsageError when no server is known. */
  client(): Promise<Client>;
  rows(rows: readonly object[], view: View): void;
  record(record: object, view: { name: string }): void;
  /** Follows the operation until its end unless told not to, and prints it. @throws OperationFailedError */
  operation(started: Operation): Promise<Operation>;
  /** Asks before something is destroyed. @throws UsageError when the answer is not yes. */
  confirm(question: string): Promise<void>;
  /** For requests whose caller wants to send them again safely. */
  idempotency(): { idempotencyKey?: string };
}

const OPERATION_VIEW = { name: 'id' };

export function createSession(terminal: Terminal, environment: NodeJS.ProcessEnv, options: OptionValues): Session {
  const configFile = configPath(environment);
  const output = outputOf(options);
  const session: Session = {
    terminal,
    environment,
    configFile,
    client: async () => connect(configFile, await readConfig(configFile), environment, options),
    rows: (rows, view) => terminal.out(renderRows(rows as Record<string, unknown>[], view, output)),
    record: (record, view) => terminal.out(renderRecord(record as Record<string, unknown>, view, output)),
    async operation(started) {
      if (options.wait === false) {
        session.record(started, OPERATION_VIEW);
        return started;
      }
      const ended = await followToEnd(await session.client(), terminal, started, options.cancelOnInterrupt === true);
      session.record(ended, OPERATION_VIEW);
      if (ended.status !== 'completed') throw new OperationFailedError(ended);
      return ended;
    },
    async confirm(question) {
      if (options.yes === true) return;
      const answer = await terminal.ask(`${question} Type "yes" to go on: `).catch((error) => {
        throw error instanceof UsageError
          ? new UsageError(`${question} Give --yes to go on without being asked.`)
          : error;
      });
      if (answer.trim() !== 'yes') throw new UsageError('Nothing was done.');
    },
    idempotency: () => (typeof options.idempotencyKey === 'string' ? { idempotencyKey: options.idempotencyKey } : {}),
  };
  return session;
}

function outputOf(options: OptionValues): Output {
  return OUTPUTS.find((name) => name === options.output) ?? 'table';
}

/** The environment wins over the file, so that a pipeline needs no file. */
function connect(file: string, config: ConfigFile, environment: NodeJS.ProcessEnv, options: OptionValues): Client {
  const { PROVISIONING_URL: url, PROVISIONING_TOKEN: token } = environment;
  const asked = typeof options.context === 'string' ? options.context : environment.PROVISIONING_CONTEXT;
  if (asked === undefined && url !== undefined) return createClient(token === undefined ? { url } : { url, token });
  const name = asked ?? config.current;
  if (name === null) {
    throw new UsageError(
      'No server is known yet. Log in: provisioning login <url>, or set PROVISIONING_URL and PROVISIONING_TOKEN.',
    );
  }
  const entry = config.contexts[name];
  if (entry === undefined) {
    const known = Object.keys(config.contexts).join(', ') || 'none';
    throw new UsageError(`There is no context "${name}". Known: ${known}.`);
  }
  return createClient({ url: entry.url, tokens: contextTokens(file, name) });
}

/** Shows what happens on standard error. Ctrl-C leaves the operation running, or cancels it where asked. */
async function followToEnd(
  client: Client,
  terminal: Terminal,
  started: Operation,
  cancelOnInterrupt: boolean,
): Promise<Operation> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new InterruptedError('interrupted'));
  process.once('SIGINT', interrupt);
  const begin = Date.now();
  const elapsed = () => `${((Date.now() - begin) / 1_000).toFixed(1).padStart(6)} s`;
  const clock = () => terminal.paint('dim', elapsed());
  terminal.note(`Operation ${started.id}: ${started.kind}`);
  try {
    for await (const event of client.follow(started.id, { signal: interrupted.signal })) {
      const data = event as { type: string; status?: string; line?: string; progress?: number; host?: string };
      if (data.type === 'log')
        terminal.note(`${clock()}  ${data.host === undefined ? '' : `${data.host}: `}${data.line ?? ''}`);
      else terminal.status(`${elapsed()}  ${started.kind} ${data.status ?? `${data.progress ?? 0} %`}`);
    }
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    throw new InterruptedError(await afterInterrupt(client, started.id, cancelOnInterrupt));
  } finally {
    process.off('SIGINT', interrupt);
  }
  const ended = await client.get('/v1/operations/{id}', { path: { id: started.id } });
  const color = ended.status === 'completed' ? 'green' : ended.status === 'failed' ? 'red' : 'yellow';
  terminal.note(`${clock()}  ${terminal.paint(color, `${ended.kind} ${ended.status}`)}`);
  return ended;
}

async function afterInterrupt(client: Client, id: string, cancel: boolean): Promise<string> {
  if (!cancel)
    return `Operation ${id} goes on. Watch it: provisioning operation logs -f ${id}; stop it: provisioning operation cancel ${id}`;
  const { status } = await client.post('/v1/operations/{id}/cancel', { path: { id } });
  return `Operation ${id}: cancel asked for, it is ${status}.`;
}
