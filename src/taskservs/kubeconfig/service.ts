/** A way into a Kubernetes cluster for one caller: a kubeconfig with a certificate of hours, which is stored nowhere. */
import { type Principal, requirePermission } from '../../access/permissions.ts';
import { requireReach } from '../../access/reach.ts';
import type { TaskservDefinition } from '../../catalog/catalog.ts';
import type { Queryable } from '../../database/pool.ts';
import { OperationError } from '../../engine/procedure.ts';
import { errors } from '../../errors.ts';
import { type AuditOrigin, insertAudit } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { asShell } from '../../transports/program.ts';
import { createFactReader } from '../cluster/facts.ts';
import { createQuote, environment, type HostFacts, maskOf, outcomeOf } from '../host-scripts.ts';
import { hostsOf, readHost, serversOf } from '../host-store.ts';
import { withTransport } from '../procedures/each-host.ts';
import { definitionsOf, wantedItem } from '../procedures/input.ts';
import { createMask } from '../secrets.ts';
import { readTaskservPlace } from '../store.ts';

/** How long a certificate is good for, unless the caller says otherwise. */
export const DEFAULT_HOURS = 8;
/** A certificate cannot be taken back: a day at most. */
export const MAX_HOURS = 24;
/** Seconds that the caller waits for the host at most. */
const MOST_SECONDS = 60;
/** Last lines of output that a failure may repeat. */
const MOST_LINES = 20;
const FACT = 'KUBECONFIG';
/** Names of what a host may fail with; the last one where the way into it takes too long. */
const FORESEEN = ['TransportError', 'OperationError', 'TimeoutError'];

/**
 * Has a control plane make a kubeconfig for the caller. The audit log has it before it is made.
 * @throws 404, 403; 409 where the taskserv hands none out or runs nowhere; 503 where the host does not make one.
 */
export async function makeKubeconfig(
  { db, hosts, encryption }: Services,
  principal: Principal,
  origin: AuditOrigin,
  id: string,
  hours: number,
) {
  const place = await readTaskservPlace(db, id);
  if (place === null) throw errors.notFound('taskserv', id);
  const { name, workspace, ownerId } = place;
  requirePermission(principal, 'taskserv_kubeconfig', {
    what: 'taskserv',
    id,
    workspace,
    ownerId,
    read: 'taskserv_read',
  });
  // Whoever administers a cluster can have anything run on its servers.
  requireReach(principal, await serversOf(db, id));
  const definitions = await definitionsOf(db, workspace);
  const definition = definitions.get(name);
  const script = definition?.scripts.kubeconfig;
  if (definition === undefined || script === undefined) {
    throw errors.conflict(`${name} is not a Kubernetes cluster: its definition has no kubeconfig.sh.`);
  }
  const host = await runningHost(db, id, definition);
  const user = `provisioning:${principal.name}`;
  const expires = new Date(Date.now() + hours * 3_600_000);
  await insertAudit(db, origin, principal.label, 'allowed', {
    ...{ action: 'taskserv.kubeconfig', workspace, resource: `taskserv:${id}` },
    details: { name, user, hours, server: host.hostname },
  });
  const tools = { db, hosts, encryption, hostsAtOnce: 1 };
  const reader = createFactReader();
  const lines: string[] = [];
  try {
    const item = await wantedItem(tools, definitions, { taskserv_id: id, name }, host.server_id);
    const mask = maskOf(item);
    const result = await withTransport(tools, host, AbortSignal.timeout(MOST_SECONDS * 1_000), (transport) =>
      transport.run(asShell(script), {
        env: { ...environment(item, host), FACT_MARK: reader.mark, CALLER_NAME: user, CALLER_HOURS: String(hours) },
        timeoutSeconds: MOST_SECONDS,
        label: `kubeconfig ${name}`,
        onLine({ text }) {
          if (!reader.take(text)) lines.push(text);
          if (lines.length > MOST_LINES) lines.shift();
        },
      }),
    );
    // Not before: what is handed out may come after what is said of it, by the other stream.
    const maskFacts = createMask(Object.values(reader.facts));
    const said = createQuote();
    for (const line of lines) said.add(maskFacts(mask(line)));
    const outcome = outcomeOf(result, said);
    const problem = outcome.ok ? reader.problem() : outcome.message;
    if (problem !== null) throw new OperationError('KUBECONFIG_FAILED', `kubeconfig.sh of ${name} ${problem}`);
  } catch (error) {
    if (!(error instanceof Error) || !FORESEEN.includes(error.name)) throw error;
    throw errors.unavailable(`${host.hostname}: ${error.message}`);
  }
  const kubeconfig = reader.facts[FACT];
  if (kubeconfig === undefined)
    throw errors.unavailable(`${host.hostname}: kubeconfig.sh of ${name} did not create a kubeconfig.`);
  return { taskserv_id: id, user, expires_at: `${expires.toISOString().slice(0, 19)}Z`, kubeconfig };
}

/** One of the first role that runs. @throws 409 where there is none. */
async function runningHost(
  db: Queryable,
  taskservId: string,
  { name, cluster }: TaskservDefinition,
): Promise<HostFacts & { server_id: string }> {
  const first = cluster?.roles[0]?.name;
  const able = (await hostsOf(db, taskservId))
    .filter(({ status, role }) => status === 'running' && (role === null || role === first))
    .toSorted((a, b) => (a.position ?? 0) - (b.position ?? 0));
  const [host] = able;
  if (host === undefined) throw errors.conflict(`${name} does not run on any server that can issue a kubeconfig.`);
  const address = (await readHost(db, host.server_id))?.ip_address ?? null;
  return { server_id: host.server_id, hostname: host.hostname, address };
}
