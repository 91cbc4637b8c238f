import type { CommandDefinition } from '../command.ts';
import { field } from '../output.ts';
import { eventCommands } from './events.ts';
import { listCommand } from './list.ts';
import { cancelCommand, followCommand, showCommand } from './runs.ts';

const VIEW = {
  columns: [
    field('id'),
    field('kind'),
    field('title'),
    field('workspace'),
    field('status'),
    field('progress'),
    field('created_by', 'by'),
    field('created_at', 'created'),
  ],
  name: 'id',
};
const OPERATION = { noun: 'operation', view: VIEW } as const;

/** What goes on and what went on. */
export const operationCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'operation list',
    summary: 'list operations, newest first',
    examples: [
      'provisioning operation list --status running',
      'provisioning operation list --kind server.create -o name',
      'provisioning operation list --created-after 2026-01-01 --limit 0 -o json > operations.json',
    ],
    path: '/v1/operations',
    filters: {
      status: 'pending, running, completed, failed or cancelled',
      workspace: 'only in this workspace',
      kind: 'only of this kind, such as server.create',
      resource: 'only of this resource, such as server:srv-…',
      parent_id: 'only operations that belong to this one',
      created_by: 'only started by this user',
      check_mode: 'any: include checks; true: only checks; false: no checks (default)',
    },
    view: VIEW,
  }),
  showCommand(OPERATION),
  followCommand(
    OPERATION,
    'wait',
    'wait until an operation has ended, and show its progress',
    'provisioning operation wait $(provisioning server stop web-01 --no-wait -o name)',
  ),
  cancelCommand(OPERATION, 'cancel an operation and clean up what is half done'),
  ...eventCommands,
];
