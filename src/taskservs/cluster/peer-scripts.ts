/** What a member of a service across servers does for another one: lets it in, takes its work over, gives it back. */
import { createHash } from 'node:crypto';
import type { PeerScriptName } from '../../catalog/catalog.ts';
import { OperationError, type StepCall } from '../../engine/procedure.ts';
import type { Line } from '../../transports/contract.ts';
import { runJob } from '../../transports/job.ts';
import { asShell } from '../../transports/program.ts';
import { asMember, type Item } from '../host-plan.ts';
import { atStep, createQuote, environment, maskOf, outcomeOf } from '../host-scripts.ts';
import { lastLineOf } from '../host-store.ts';
import { withTransport } from '../procedures/each-host.ts';
import type { HostTools } from '../procedures/input.ts';
import { untilTurn } from '../procedures/turn.ts';
import { createMask } from '../secrets.ts';
import { createFactReader } from './facts.ts';
import type { Member } from './members.ts';

/** Lines of output that are kept of one run. */
const MAX_LINES = 10_000;

/** A script that `contact` runs for `peer`. */
export interface PeerWork {
  tools: HostTools;
  /** As the peer has it. */
  item: Item;
  contact: Member;
  peer: Member;
  /** The peer is to be no member any more. */
  leaves: boolean;
  call: StepCall;
}

/**
 * Runs admit.sh: it may run any number of times for the same newcomer. Its output goes through no file, for it holds
 * what it hands out.
 * @returns what the newcomer gets to join.
 * @throws OperationError, TransportError.
 */
export async function admit(work: PeerWork): Promise<Record<string, string>> {
  const { tools, item, contact, call } = work;
  const { script, env, label } = await rendered(work, 'admit');
  const reader = createFactReader();
  const said = createQuote();
  const mask = maskOf(item);
  let maskFacts = createMask([]);
  await untilTurn(tools, contact, call);
  return withTransport(tools, contact, call.signal, async (transport) => {
    call.guard();
    const result = await atStep(label, () =>
      transport.run(script, {
        env: { ...env, FACT_MARK: reader.mark },
        signal: call.signal,
        timeoutSeconds: item.definition.timeouts.admit,
        label: `admit ${item.definition.name}`,
        onLine: ({ stream, text }) => {
          if (reader.take(text)) {
            maskFacts = createMask(Object.values(reader.facts));
            return undefined;
          }
          const line = maskFacts(mask(text));
          said.add(line);
          return call.log(line, fieldsOf(work, 'admit', { stream }));
        },
      }),
    );
    const outcome = outcomeOf(result, said);
    if (!outcome.ok) throw new OperationError('ADMIT_FAILED', `${contact.hostname}: ${label} ${outcome.message}`);
    if (reader.problem() !== null) {
      throw new OperationError('ADMIT_FAILED', `${contact.hostname}: ${label} ${reader.problem()}`);
    }
    return reader.facts;
  });
}

/** Runs drain.sh or resume.sh, detached: it may take long. @throws OperationError, TransportError. */
export async function coordinate(work: PeerWork, script: 'drain' | 'resume'): Promise<void> {
  const { tools, item, contact, peer, call } = work;
  const { name, timeouts } = item.definition;
  const program = await rendered(work, script);
  const said = createQuote();
  const mask = maskOf(item);
  const fields = fieldsOf(work, script);
  await untilTurn(tools, contact, call);
  const seen = await lastLineOf(tools.db, call.operationId, { host: contact.hostname, job: String(fields.job) });
  await withTransport(tools, contact, call.signal, async (transport) => {
    call.guard();
    const result = await atStep(program.label, () =>
      runJob(transport, {
        id: `${call.operationId.replaceAll('-', '')}-${digest(name, script, peer.server_id)}`,
        script: program.script,
        env: program.env,
        timeoutSeconds: timeouts[script],
        signal: call.signal,
        fromLine: seen + 1,
        label: `${script} ${name}`,
        onLine: ({ stream, text }: Line, n) => {
          const line = mask(text);
          said.add(line);
          if (n <= MAX_LINES) void call.log(line, { ...fields, stream, n });
        },
      }),
    );
    const outcome = outcomeOf(result, said);
    if (outcome.ok) return;
    const code = script === 'drain' ? 'DRAIN_FAILED' : 'RESUME_FAILED';
    throw new OperationError(code, `${contact.hostname}: ${program.label} ${outcome.message}`);
  });
}

async function rendered({ tools, item, contact, peer, leaves }: PeerWork, script: PeerScriptName) {
  const { name, scripts } = item.definition;
  const own = await asMember(tools.db, item, contact.server_id);
  return {
    script: asShell(scripts[script] ?? ''),
    label: `${script}.sh of ${name} for ${peer.hostname}`,
    env: {
      ...environment({ ...own, facts: {} }, contact),
      PEER_NAME: peer.hostname,
      PEER_ADDRESS: peer.address ?? '',
      PEER_ROLE: peer.role,
      PEER_LEAVES: leaves ? 'yes' : 'no',
    },
  };
}

function fieldsOf({ item, contact, peer }: PeerWork, script: PeerScriptName, more: Record<string, unknown> = {}) {
  const { name } = item.definition;
  return { host: contact.hostname, taskserv: name, job: `${script} ${name} for ${peer.hostname}`, ...more };
}

/** Short, as a job's id is bounded. */
function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
