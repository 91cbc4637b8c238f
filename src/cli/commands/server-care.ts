import type { Client, Server } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';

type Find = (client: Client, name: string, options: OptionValues) => Promise<Server>;
const FIELDS = ['status', 'plan', 'zone', 'tags'] as const;

/** Looking after servers: what their providers say, making them again as they were left, taking servers over. */
export function careCommands(findServer: Find): readonly CommandDefinition[] {
  return [
    {
      name: 'server refresh',
      summary: 'compare servers with their providers and record drift',
      description: 'Differences are recorded and shown as drift (server show). Nothing is changed at the provider.',
      examples: ['provisioning server refresh', 'provisioning server refresh web-01 web-02 -w production --check'],
      arguments: [{ name: 'server', description: 'ids or hostnames (default: all)', optional: true, variadic: true }],
      options: [{ flags: '-w, --workspace <name>', description: 'workspace (default: the active one)' }],
      covers: ['POST /v1/servers/refresh'],
      operation: true,
      async run(session, servers, options) {
        const body = given({
          workspace: text(options, 'workspace'),
          servers: servers.length === 0 ? undefined : servers,
        });
        const client = await session.client();
        await session.operation(await client.post('/v1/servers/refresh', { body, ...session.idempotency() }));
      },
    },
    {
      name: 'server repair',
      summary: 'restore a server to its recorded state',
      description:
        'Repairs the power state, the labels and, if the provider supports it, the plan. If something must be repaired by hand, nothing is changed.',
      examples: ['provisioning server repair web-01 --check', 'provisioning server repair web-01 --recreate --yes'],
      arguments: [{ name: 'server', description: 'id (srv-…) or hostname' }],
      options: [
        { flags: '-w, --workspace <name>', description: 'workspace of the hostname (default: search all)' },
        {
          flags: '--field <name>',
          description: 'repair only this; can be repeated',
          choices: FIELDS,
          repeatable: true,
        },
        { flags: '--recreate', description: 'create a missing server again from scratch, without its data' },
        { flags: '-y, --yes', description: 'do not ask for confirmation' },
      ],
      covers: ['POST /v1/servers/{id}/repair'],
      operation: true,
      async run(session, [name = ''], options) {
        const client = await session.client();
        const server = await findServer(client, name, options);
        if (options.check !== true) {
          await session.confirm(`Repair ${server.hostname} (${server.id})? It may be stopped during the repair.`);
        }
        const fields = FIELDS.filter((field) => texts(options, 'field')?.includes(field) ?? false);
        const body = given({
          recreate: options.recreate === true ? true : undefined,
          fields: fields.length === 0 ? undefined : fields,
        });
        const path = { id: server.id };
        await session.operation(await client.post('/v1/servers/{id}/repair', { path, body, ...session.idempotency() }));
      },
    },
    {
      name: 'server adopt',
      summary: 'adopt existing servers of a provider',
      description:
        'Adopts one server by its provider id, or all with a label. Afterwards they are managed like any other server: deleting one deletes it at the provider.',
      examples: [
        'provisioning server adopt hetzner --server 4711 --hostname db-01 --check',
        'provisioning server adopt upcloud --label team=web -w production',
      ],
      arguments: [{ name: 'provider', description: 'name of the provider' }],
      options: [
        { flags: '-w, --workspace <name>', description: 'workspace to add them to', default: 'default' },
        { flags: '--server <id>', description: 'id of one server at the provider' },
        { flags: '--label <label>', description: 'all servers with this label: key=value or key' },
        { flags: '--hostname <name>', description: 'with --server: hostname to record' },
      ],
      covers: ['POST /v1/servers/import'],
      operation: true,
      async run(session, [provider = ''], options) {
        const body = {
          workspace: text(options, 'workspace') ?? 'default',
          provider,
          ...given({
            server: text(options, 'server'),
            label: text(options, 'label'),
            hostname: text(options, 'hostname'),
          }),
        };
        const client = await session.client();
        await session.operation(await client.post('/v1/servers/import', { body, ...session.idempotency() }));
      },
    },
  ];
}
