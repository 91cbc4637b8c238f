import type { Client, Server } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';

type Find = (client: Client, name: string, options: OptionValues) => Promise<Server>;
const FIELDS = ['status', 'plan', 'zone', 'tags'] as const;

/** Looking after servers: what their providers say, making them again as they were left, taking servers over. */
export function careCommands(findServer: Find): readonly CommandDefinition[] {
  return [
    {
      name: 'server refresh',
      summary: 'compare servers with what their providers say',
      description: 'What has changed is entered and shown as drift (server show); nothing is changed at a provider.',
      examples: ['provisioning server refresh', 'provisioning server refresh web-01 web-02 -w production --check'],
      arguments: [{ name: 'server', description: 'ids or hostnames (default: all)', optional: true, variadic: true }],
      options: [{ flags: '-w, --workspace <name>', description: 'the workspace (default: the active one)' }],
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
      summary: 'make a server again as it was left',
      description:
        'Power state, labels, and the plan where the provider can. Where something must be done by hand, nothing is touched.',
      examples: ['provisioning server repair web-01 --check', 'provisioning server repair web-01 --recreate --yes'],
      arguments: [{ name: 'server', description: 'id (srv-…) or hostname' }],
      options: [
        { flags: '-w, --workspace <name>', description: 'where a hostname is looked for (default: everywhere)' },
        {
          flags: '--field <name>',
          description: 'only this; may be given several times',
          choices: FIELDS,
          repeatable: true,
        },
        { flags: '--recreate', description: 'make a server that is gone anew, empty' },
        { flags: '-y, --yes', description: 'do not ask' },
      ],
      covers: ['POST /v1/servers/{id}/repair'],
      operation: true,
      async run(session, [name = ''], options) {
        const client = await session.client();
        const server = await findServer(client, name, options);
        if (options.check !== true) {
          await session.confirm(`Repair ${server.hostname} (${server.id})? It may have to be stopped for that.`);
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
      summary: 'take over servers that exist at a provider',
      description:
        'One by its id there, or all with a label. They are labelled, and are then servers as any other: deleting one deletes it there.',
      examples: [
        'provisioning server adopt hetzner --server 4711 --hostname db-01 --check',
        'provisioning server adopt upcloud --label team=web -w production',
      ],
      arguments: [{ name: 'provider', description: 'name of the provider' }],
      options: [
        { flags: '-w, --workspace <name>', description: 'the workspace they are to belong to', default: 'default' },
        { flags: '--server <id>', description: "the provider's id of one" },
        { flags: '--label <label>', description: 'key=value, or key' },
        { flags: '--hostname <name>', description: 'with --server: what it is to be called' },
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
