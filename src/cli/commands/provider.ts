import type { CommandDefinition } from '../command.ts';
import { field } from '../output.ts';

const NAME = { name: 'provider', description: 'name of the provider' };
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
    summary: 'show the providers that are enabled',
    examples: ['provisioning provider list'],
    covers: ['GET /v1/providers'],
    output: true,
    async run(session) {
      session.rows(await (await session.client()).get('/v1/providers'), { columns: [field('name')], name: 'name' });
    },
  },
  {
    name: 'provider plans',
    summary: 'show the sizes of servers that a provider makes',
    examples: ['provisioning provider plans simulated'],
    arguments: [NAME],
    covers: ['GET /v1/providers/{name}/plans'],
    output: true,
    async run(session, [name = '']) {
      session.rows(await (await session.client()).get('/v1/providers/{name}/plans', { path: { name } }), PLANS);
    },
  },
  {
    name: 'provider zones',
    summary: 'show where a provider makes servers',
    examples: ['provisioning provider zones simulated'],
    arguments: [NAME],
    covers: ['GET /v1/providers/{name}/zones'],
    output: true,
    async run(session, [name = '']) {
      const zones = await (await session.client()).get('/v1/providers/{name}/zones', { path: { name } });
      session.rows(zones, { columns: [field('name'), field('description')], name: 'name' });
    },
  },
];
