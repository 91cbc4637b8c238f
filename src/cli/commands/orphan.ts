import type { CommandDefinition } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';

const VIEW = {
  columns: [
    field('id'),
    field('provider'),
    field('provider_id', 'provider id'),
    field('hostname'),
    field('workspace'),
    field('plan'),
    field('zone'),
    field('status'),
    field('first_seen', 'first seen'),
    field('protect'),
  ],
  name: 'id',
};
const ORPHAN = { name: 'orphan', description: 'id (orp-…)' };

function protection(protect: boolean): CommandDefinition {
  const verb = protect ? 'protect' : 'unprotect';
  return {
    name: `orphan ${verb}`,
    summary: protect ? 'refuse whatever would delete one of them' : 'remove the protection of one of them',
    description: protect
      ? 'Also its deletion by PROVISIONING_ORPHAN_DELETE_AFTER. Taken over, it stays protected.'
      : 'This needs the permission "protection_remove".',
    examples: [`provisioning orphan ${verb} orp-3bj4tuexnfre`],
    arguments: [ORPHAN],
    covers: ['PATCH /v1/orphans/{id}'],
    async run(session, [id = '']) {
      const client = await session.client();
      const orphan = await client.patch('/v1/orphans/{id}', { path: { id }, body: { protect } });
      session.done(`The orphan ${id} is ${protect ? 'protected' : 'not protected any more'}.`, orphan, VIEW);
    },
  };
}

/** Servers at providers that nobody knows. */
export const orphanCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'orphan list',
    summary: 'show servers that stand at a provider and that nobody knows',
    examples: ['provisioning orphan list', 'provisioning orphan list --provider hetzner -o json'],
    path: '/v1/orphans',
    filters: {
      provider: 'only at this provider',
      provider_id: 'only the one that the provider calls so',
      workspace: 'only those whose label names this workspace',
      zone: 'only in this zone',
      plan: 'only of this plan',
      created_after: 'only first seen from this time on (RFC 3339 or a date)',
      created_before: 'only first seen before this time',
    },
    view: VIEW,
  }),
  {
    name: 'orphan show',
    summary: 'show one of them, with what it costs where the provider tells',
    examples: ['provisioning orphan show orp-3bj4tuexnfre -o yaml'],
    arguments: [ORPHAN],
    covers: ['GET /v1/orphans/{id}'],
    async run(session, [id = '']) {
      session.record(await (await session.client()).get('/v1/orphans/{id}', { path: { id } }), VIEW);
    },
  },
  protection(true),
  protection(false),
  {
    name: 'orphan delete',
    summary: 'delete one of them with its disks',
    description: 'It is looked at once more right before; what belongs to a server by then is left alone.',
    examples: ['provisioning orphan delete orp-3bj4tuexnfre --yes'],
    arguments: [ORPHAN],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/orphans/{id}'],
    operation: true,
    async run(session, [id = '']) {
      const client = await session.client();
      const path = { id };
      const orphan = await client.get('/v1/orphans/{id}', { path });
      await session.confirm(`Delete ${orphan.hostname} (${orphan.provider_id}) at ${orphan.provider}?`);
      await session.operation(await client.delete('/v1/orphans/{id}', { path, ...session.idempotency() }));
    },
  },
];
