import { type Client, createClient, OperationFailedError } from '../sdk/client.ts';
import { checkingOnly } from './checking.ts';
import type { OptionValues } from './command.ts';
import { type ConfigFile, configPath, contextTokens, readConfig } from './config-file.ts';
import { UsageError } from './errors.ts';
import { followToEnd } from './follow.ts';
import { OUTPUTS, type Output, renderPages, renderRecord, renderRows } from './output.ts';
import type { Session } from './session.ts';
import type { Terminal } from './terminal.ts';
import { trustAuthorities } from './trust.ts';

const OPERATION_VIEW = { name: 'id' };

export function createSession(terminal: Terminal, environment: NodeJS.ProcessEnv, options: OptionValues): Session {
  const configFile = configPath(environment);
  const output = outputOf(options);
  const session: Session = {
    terminal,
    environment,
    configFile,
    async client() {
      const client = await connect(configFile, await readConfig(configFile), environment, options);
      return options.check === true ? checkingOnly(client) : client;
    },
    rows: (rows, view) => terminal.out(renderRows(rows as Record<string, unknown>[], view, output)),
    async stream(rows, view) {
      let count = 0;
      for await (const { text, rows: more } of renderPages(
        rows as AsyncIterable<Record<string, unknown>>,
        view,
        output,
      )) {
        terminal.out(text);
        count += more;
        await terminal.drained();
      }
      return count;
    },
    record: (record, view) => terminal.out(renderRecord(record as Record<string, unknown>, view, output)),
    done(message, record, view) {
      terminal.note(options.check === true ? `Without --check: ${message}` : message);
      if (output !== 'table') session.record(record, view);
    },
    follow: async (started) =>
      followToEnd(await session.client(), terminal, started, options.cancelOnInterrupt === true),
    async operation(started) {
      if (options.wait === false || (options.check === true && started.status === 'completed')) {
        session.record(started, OPERATION_VIEW);
        return started;
      }
      const ended = await session.follow(started);
      session.record(ended, OPERATION_VIEW);
      if (ended.status !== 'completed') throw new OperationFailedError(ended);
      return ended;
    },
    async confirm(question) {
      if (options.yes === true || options.check === true) return;
      const answer = await terminal.ask(`${question} Type "yes" to continue: `).catch((error) => {
        throw error instanceof UsageError
          ? new UsageError(`${question} Give --yes to confirm without a terminal.`)
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
async function connect(
  file: string,
  config: ConfigFile,
  environment: NodeJS.ProcessEnv,
  options: OptionValues,
): Promise<Client> {
  const { PROVISIONING_URL: url, PROVISIONING_TOKEN: token, PROVISIONING_CA: ca } = environment;
  const asked = typeof options.context === 'string' ? options.context : environment.PROVISIONING_CONTEXT;
  if (asked === undefined && url !== undefined) {
    if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
      throw new UsageError(`PROVISIONING_URL: "${url}" is not a valid address. Example: https://provisioning.example`);
    }
    if (ca !== undefined) await trustAuthorities(ca);
    return createClient(token === undefined ? { url } : { url, token });
  }
  const name = asked ?? config.current;
  if (name === null) {
    throw new UsageError(
      'You are not logged in to a server. Log in: provisioning login <url>, or set PROVISIONING_URL and PROVISIONING_TOKEN.',
    );
  }
  const entry = config.contexts[name];
  if (entry === undefined) {
    const known = Object.keys(config.contexts).join(', ') || 'none';
    throw new UsageError(`There is no context "${name}". Known contexts: ${known}.`);
  }
  const authorities = ca ?? entry.ca;
  if (authorities !== undefined) await trustAuthorities(authorities);
  return createClient({ url: entry.url, tokens: contextTokens(file, name) });
}
