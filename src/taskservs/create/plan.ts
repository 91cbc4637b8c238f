/** check_mode: looks at the hosts and says what a create would do. Writes nothing, on hosts or about them. */
import type { ProcedureContext, StepCall } from '../../engine/procedure.ts';
import type { Member } from '../cluster/members.ts';
import { lookAt } from '../host-look.ts';
import { asMember, type Item, itemOf, itemsOn } from '../host-plan.ts';
import { checkItem } from '../host-scripts.ts';
import { onEachHost, withTransport } from '../procedures/each-host.ts';
import { definitionMissing, definitionsOf, type Host, type HostTools } from '../procedures/input.ts';
import { requireRunning } from '../procedures/turn.ts';

/** What check_mode is given. `secrets` is encrypted. */
export interface CheckModeInput {
  check_mode: true;
  /** The taskserv that the request would change; null: it would make one. */
  taskserv_id: string | null;
  name: string;
  version: string;
  config: Record<string, unknown>;
  secret_names: string[];
  secrets: string | null;
  hosts: Host[];
  made: string[];
  /** Fields that differ from what is wanted now; secrets only by name. */
  differences: Record<string, unknown>;
  /** Of a service across servers. */
  members?: Member[];
}

/** What would be done with one taskserv on one host. */
interface Intent {
  taskserv: string;
  version: string;
  action: 'install' | 'change' | 'repair' | 'keep';
  /** What is installed there now. */
  from: string | null;
}

interface HostLook {
  platform: string | null;
  installed: Record<string, string>;
  would: Intent[];
  problems: string[];
}

export async function planInstall(tools: HostTools, input: CheckModeInput, context: ProcedureContext) {
  const outcomes = await onEachHost(context, tools, 'look at', input.hosts, (host, call, slots) =>
    slots.run(call.signal, () => lookOnHost(tools, input, context.workspace, host, call)),
  );
  const hosts = outcomes.map((outcome) => ({
    server: outcome.host.hostname,
    server_id: outcome.host.server_id,
    reachable: outcome.ok,
    ...(outcome.ok ? outcome.value : { platform: null, installed: {}, would: [], problems: [outcome.message] }),
  }));
  const { taskserv_id: id, name, version, config, secret_names: secrets, differences } = input;
  const made = hosts.filter(({ server_id }) => input.made.includes(server_id)).map(({ server }) => server);
  const thing = { type: 'taskserv', name, version, config, secrets };
  return async () => ({
    check_mode: true,
    plan: {
      create: id === null ? [{ ...thing, servers: made }] : [],
      change: id === null ? [] : [{ ...thing, taskserv_id: id, new_servers: made, differences }],
      delete: [],
      order: hosts.flatMap(({ server, would }) =>
        would
          .filter(({ action }) => action !== 'keep')
          .map(({ taskserv, version: to, action }) => `${server}: ${action} ${taskserv} ${to}`),
      ),
      hosts,
      problems: hosts.flatMap(({ problems }) => problems),
    },
  });
}

async function lookOnHost(
  tools: HostTools,
  input: CheckModeInput,
  workspace: string,
  host: Host,
  call: StepCall,
): Promise<HostLook> {
  const { address } = await requireRunning(tools, host);
  const definitions = await definitionsOf(tools.db, workspace);
  const definition = definitions.get(input.name);
  if (definition === undefined) throw definitionMissing(input.name);
  const alone = itemOf(tools.encryption, definition, input.taskserv_id, { revision: 0, ...input });
  const wanted = await asMember(tools.db, alone, host.server_id, { members: input.members ?? [] });
  const { items } = await itemsOn(tools.db, tools.encryption, definitions, host.server_id, wanted);
  return withTransport(tools, host, call.signal, async (transport) => {
    const facts = { hostname: host.hostname, address };
    const { platform, installed, health } = await lookAt(transport, items, facts, call.signal);
    const would: Intent[] = [];
    for (const item of items) {
      const { name } = item.definition;
      const there = installed.get(name);
      const same = there?.digest === item.digest;
      const healthy = same && (health.get(name) ?? (await checkItem(transport, item, facts, call.signal))).ok;
      would.push({
        taskserv: name,
        version: item.version,
        action: healthy ? 'keep' : same ? 'repair' : there === undefined ? 'install' : 'change',
        from: there?.version ?? null,
      });
    }
    await call.log(`${host.hostname}: ${would.map(({ action, taskserv }) => `${action} ${taskserv}`).join(', ')}`, {
      host: host.hostname,
    });
    return {
      platform,
      installed: Object.fromEntries([...installed].map(([name, { version }]) => [name, version])),
      would,
      problems: platformProblems(items, platform, host),
    };
  });
}

function platformProblems(items: readonly Item[], platform: string | null, host: Host): string[] {
  if (platform === null) return [];
  return items
    .filter(({ definition }) => !definition.platforms.includes(platform))
    .map(
      ({ definition }) =>
        `${definition.name} is made for ${definition.platforms.join(', ')}; ${host.hostname} has ${platform}.`,
    );
}
