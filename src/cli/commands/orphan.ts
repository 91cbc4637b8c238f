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
    summary: protect ? 'protect an orphan from deletion' : 'remove the protection of an orphan',
    description: protect
      ? 'This includes deletion by PROVISIONING_ORPHAN_DELETE_AFTER. The protection is kept if you adopt the server.'
      : 'This needs the permission "protection_remove".',
    examples: [`provisioning orphan ${verb} orp-3bj4tuexnfre`],
    arguments: [ORPHAN],
    covers: ['PATCH /v1/orphans/{id}'],
    async run(session, [id = '']) {
      const client = await session.client();
      const orphan = await client.patch('/v1/orphans/{id}', { path: { id }, body: { protect } });
      session.done(`Orphan ${id} is ${protect ? 'now protected' : 'no longer protected'}.`, orphan, VIEW);
    },
  };
}

/** Orphaned servers at providers. */
export const orphanCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'orphan list',
    summary: 'list orphans: servers at a provider that are not recorded here',
    examples: ['provisioning orphan list', 'provisioning orphan list --provider hetzner -o json'],
    path: '/v1/orphans',
    filters: {
      provider: 'only at this provider',
      provider_id: 'only the server with this id at the provider',
      workspace: 'only with a label of this workspace',
      zone: 'only in this zone',
      plan: 'only with this plan',
      created_after: 'only first seen at or after this time (RFC 3339 or a date)',
      created_before: 'only first seen before this time',
    },
    view: VIEW,
  }),
  {
    name: 'orphan show',
    summary: 'show one orphan, with its price if the provider publishes one',
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
    summary: 'delete an orphan and its disks',
    description: 'The server is checked again right before the deletion. It is kept if it has been adopted meanwhile.',
    examples: ['provisioning orphan delete orp-3bj4tuexnfre --yes'],
    arguments: [ORPHAN],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
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
