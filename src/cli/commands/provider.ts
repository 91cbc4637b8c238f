import { type CommandDefinition, given, text } from '../command.ts';
import { field } from '../output.ts';

const WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'use the account of this workspace',
} as const;
const NAME = { name: 'provider', description: 'name of the provider', names: 'provider' } as const;
const PLANS = {
  columns: [
    field('name'),
    field('native_name', 'native name'),
    field('cpus'),
    field('memory_mb', 'memory (MiB)'),
    field('storage_gb', 'disk (GiB)'),
  ],
  name: 'name',
};

/** Providers, their plans and zones. */
export const providerCommands: readonly CommandDefinition[] = [
  {
    name: 'provider list',
    summary: 'list the enabled providers',
    examples: ['provisioning provider list'],
    options: [WORKSPACE],
    covers: ['GET /v1/providers'],
    async run(session, _args, options) {
      const query = given({ workspace: text(options, 'workspace') });
      const providers = await (await session.client()).get('/v1/providers', { query });
      session.rows(providers, { columns: [field('name')], name: 'name' });
    },
  },
  {
    name: 'provider plans',
    summary: 'list the plans (server sizes) of a provider',
    examples: ['provisioning provider plans simulated'],
    arguments: [NAME],
    options: [WORKSPACE],
    covers: ['GET /v1/providers/{name}/plans'],
    async run(session, [name = ''], options) {
      const query = given({ workspace: text(options, 'workspace') });
      session.rows(await (await session.client()).get('/v1/providers/{name}/plans', { path: { name }, query }), PLANS);
    },
  },
  {
    name: 'provider zones',
    summary: 'list the zones of a provider',
    examples: ['provisioning provider zones simulated'],
    arguments: [NAME],
    options: [WORKSPACE],
    covers: ['GET /v1/providers/{name}/zones'],
    async run(session, [name = ''], options) {
      const query = given({ workspace: text(options, 'workspace') });
      const zones = await (await session.client()).get('/v1/providers/{name}/zones', { path: { name }, query });
      session.rows(zones, { columns: [field('name'), field('description')], name: 'name' });
    },
  },
];
