/** How this section speaks with a host: installing, checking, removing, always with secrets masked. */
import { renderScripts } from '../catalog/catalog.ts';
import type { StepCall } from '../engine/procedure.ts';
import { type Line, type Transport, TransportError } from '../transports/contract.ts';
import { logOfJob, runJob } from '../transports/job.ts';
import { asShell } from '../transports/program.ts';
import type { Membership } from './cluster/members.ts';
import type { Item } from './host-plan.ts';
import { createMask } from './secrets.ts';

/** Where a host keeps what was installed there with success: `<name>` holds a digest and a version. */
export const MARKS = '/var/lib/provisioning/taskservs';
/** Seconds to take two files away. */
const FORGET_SECONDS = 30;
/** Lines of output that a failure's message repeats at most, and their length together. */
const QUOTED_LINES = 5;
const QUOTED_LENGTH = 600;

/** Failures of the way into the host say at which step it was. */
export async function atStep<T>(step: string | (() => string), work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    const { code, message, retryable } = error;
    throw new TransportError(code, `${message} (step: ${typeof step === 'string' ? step : step()})`, {
      retryable,
      cause: error,
    });
  }
}

/** How a script ended, in words fit for everybody. */
export interface Outcome {
  ok: boolean;
  /** Such as `ended with status 3: cannot download …`; the last line of output where it succeeded. */
  message: string;
}

/** The host that a script runs on, as scripts know it. */
export interface HostFacts {
  hostname: string;
  address: string | null;
}

/** What a script of the item is given, secrets included. */
export function environment(item: Item, host: HostFacts): Record<string, string> {
  return {
    ...renderScripts(item.definition, item.version, item.values).env,
    HOST_NAME: host.hostname,
    ...(host.address === null ? {} : { HOST_ADDRESS: host.address }),
    ...clusterEnvironment(item.membership),
    ...Object.fromEntries(Object.entries(item.facts ?? {}).map(([name, value]) => [`FACT_${name}`, value])),
  };
}

/** Empty for a service of the host's own, so that a script need not ask whether the names are set. */
function clusterEnvironment(membership: Membership | null): Record<string, string> {
  const { self, leader, members = [] } = membership ?? {};
  return {
    CLUSTER_ROLE: self?.role ?? '',
    CLUSTER_LEADER: leader?.hostname ?? '',
    CLUSTER_LEADER_ADDRESS: leader?.address ?? '',
    CLUSTER_LEADS: self === undefined ? '' : self === leader ? 'yes' : 'no',
    CLUSTER_MEMBERS: members.map(({ hostname, role, address }) => `${hostname} ${role} ${address ?? '-'}`).join('\n'),
  };
}

/** Blanks the item's secrets out of output. */
export function maskOf(item: Item) {
  return createMask([...item.secretNames.map((name) => item.values[name]), ...Object.values(item.facts ?? {})]);
}

/** Runs check.sh: it decides whether the service is healthy. */
export async function checkItem(
  transport: Transport,
  item: Item,
  host: HostFacts,
  signal: AbortSignal,
): Promise<Outcome> {
  const mask = maskOf(item);
  const said = createQuote();
  const { name, scripts, timeouts } = item.definition;
  const result = await atStep(`check.sh of ${name}`, () =>
    transport.run(asShell(scripts.check), {
      env: environment(item, host),
      signal,
      timeoutSeconds: timeouts.check,
      label: `check ${name}`,
      onLine: ({ text }) => said.add(mask(text)),
    }),
  );
  return outcomeOf(result, said);
}

/** Where output goes, and from which line on. */
export interface Output {
  /** Names the run: the operation, the taskserv, what is done. */
  jobId: string;
  fromLine: number;
  onLine: (line: Line, number: number) => void;
}

/** Uploads the config and runs install.sh, detached: after a crash the same job is attached to again. */
export async function installItem(
  transport: Transport,
  item: Item,
  host: HostFacts,
  call: StepCall,
  output: Output,
): Promise<Outcome> {
  const { configFile } = renderScripts(item.definition, item.version, item.values);
  const { name } = item.definition;
  const { signal } = call;
  call.guard();
  await atStep(`config of ${name}`, () =>
    transport.upload(configFile.content, configFile.path, { mode: configFile.mode, signal }),
  );
  const outcome = await runScript(transport, item, host, call, output, 'install');
  if (!outcome.ok) return outcome;
  call.guard();
  const mark = `${item.digest} ${item.version}\n`;
  await atStep(`mark of ${name}`, () => transport.upload(mark, `${MARKS}/${name}`, { mode: 0o600, signal }));
  return outcome;
}

/** Takes the mark away by which a host says that it carries the item. @throws TransportError. */
export async function unmarkItem(transport: Transport, { definition }: Item, signal: AbortSignal): Promise<void> {
  const { name } = definition;
  await atStep(`mark of ${name}`, () =>
    transport.run('rm -f "$mark"', {
      env: { mark: `${MARKS}/${name}` },
      signal,
      timeoutSeconds: FORGET_SECONDS,
      label: `forget ${name}`,
    }),
  );
}

/** Runs remove.sh, and makes the host forget that it ever was there. */
export async function removeItem(
  transport: Transport,
  item: Item,
  host: HostFacts,
  call: StepCall,
  output: Output,
): Promise<Outcome> {
  const outcome = await runScript(transport, item, host, call, output, 'remove');
  if (!outcome.ok) return outcome;
  call.guard();
  const { name } = item.definition;
  const { configFile } = renderScripts(item.definition, item.version, item.values);
  const { exitCode } = await atStep(`forget ${name}`, () =>
    transport.run('rm -f "$mark" "$config"', {
      env: { mark: `${MARKS}/${name}`, config: configFile.path },
      signal: call.signal,
      timeoutSeconds: FORGET_SECONDS,
      label: `forget ${name}`,
    }),
  );
  return exitCode === 0 ? outcome : { ok: false, message: `left ${MARKS}/${name} behind, which cannot be deleted` };
}

async function runScript(
  transport: Transport,
  item: Item,
  host: HostFacts,
  call: StepCall,
  output: Output,
  script: 'install' | 'remove',
): Promise<Outcome> {
  const mask = maskOf(item);
  const said = createQuote();
  call.guard();
  const { name, scripts, timeouts } = item.definition;
  const result = await atStep(`${script}.sh of ${name}`, () =>
    runJob(transport, {
      id: output.jobId,
      script: asShell(scripts[script]),
      env: environment(item, host),
      timeoutSeconds: timeouts[script],
      signal: call.signal,
      fromLine: output.fromLine,
      label: `${script} ${name}`,
      onLine: (line, number) => {
        if (item.facts === null) return;
        const masked = { ...line, text: mask(line.text) };
        said.add(masked.text);
        output.onLine(masked, number);
      },
    }),
  );
  const outcome = outcomeOf(result, said);
  if (outcome.ok || item.facts !== null) return outcome;
  return { ok: false, message: `${outcome.message} that may be told: the host keeps it in ${logOfJob(output.jobId)}` };
}

/** Keeps the last lines of output, to be repeated in a message. */
export function createQuote() {
  const lines: string[] = [];
  return {
    add(text: string) {
      if (text.trim() === '') return;
      lines.push(text);
      if (lines.length > QUOTED_LINES) lines.shift();
    },
    last: () => lines.at(-1) ?? '',
    all: () => lines.join(' / ').slice(-QUOTED_LENGTH),
  };
}

/** How a script ended, with its last words. */
export function outcomeOf(
  result: { exitCode: number | null; signal: string | null },
  said: ReturnType<typeof createQuote>,
): Outcome {
  if (result.exitCode === 0) return { ok: true, message: said.last() };
  const how = result.exitCode === null ? `was ended by ${result.signal}` : `ended with status ${result.exitCode}`;
  const words = said.all();
  return { ok: false, message: words === '' ? `${how}, without a word` : `${how}: ${words}` };
}
