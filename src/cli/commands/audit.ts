import type { CommandDefinition } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';

/** Who did what. */
export const auditCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'audit',
    summary: 'show who changed what, or was refused, the newest first',
    examples: ['provisioning audit --outcome denied', 'provisioning audit --principal dev.one --limit 20'],
    path: '/v1/audit',
    filters: {
      principal: 'only of this user',
      action: 'only this action, such as server.create',
      workspace: 'only in this workspace',
      outcome: 'allowed, denied or failed',
      operation_id: 'only what set off this operation',
    },
    view: {
      columns: [
        field('created_at', 'time'),
        field('principal'),
        field('action'),
        field('workspace'),
        field('resource'),
        field('outcome'),
        field('address'),
      ],
      name: 'id',
    },
  }),
];
