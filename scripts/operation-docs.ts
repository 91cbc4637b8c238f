import type { OpenAPI3, OperationObject } from 'openapi-typescript';
import {
  GLOBAL_PERMISSIONS,
  OWN_ONLY,
  PERMISSIONS,
  type Permission,
  ROLE_NAMES,
  ROLES,
} from '../src/access/permissions.ts';
import { OPERATION_KINDS } from '../src/operation-kinds.ts';
import type { NodeKind, NodeOutcome } from '../src/operations/node.ts';

const NOTE =
  '<!-- Written by "npm run generate" from src/operation-kinds.ts, src/access/permissions.ts and openapi/openapi.json. -->';

/** Outcomes of completed nodes: between them they show every way in which a kind is undone. */
const COMPLETED: readonly Pick<NodeOutcome, 'input' | 'fields'>[] = [
  { input: { previous_status: 'stopped', taskserv_id: '' }, fields: { undo_script: '' } },
  { input: { previous_status: 'running', taskserv_id: '', previous: {} }, fields: {} },
];

/** Every kind of operation: what asks for it, who may, and what it is in a workflow. */
export function kindsPage(): string {
  const rows = OPERATION_KINDS.map(({ kind, permission, startedBy, endpoints, node }) => {
    const requests = endpoints.map(({ method, path }) => requestLink(method, path.replaceAll(/:(\w+)/g, '{$1}')));
    return [
      `\`${kind}\``,
      startedBy ?? requests.join(', '),
      permission === null ? '' : `\`${permission}\``,
      node === undefined ? '' : `\`${node.name ?? kind}\``,
      node === undefined ? '' : undoText(node),
    ];
  });
  return `# Kinds of operations

${NOTE}

Every change of infrastructure is an [operation](concepts.md#operation) of one of these kinds. What a kind must keep to says the
[contract](contracts/operation.md); who has which permission, [permissions](permissions.md); what nodes take, [workflows](contracts/workflow.md).

${table(['kind', 'started by', 'permission', 'node of a workflow', 'undone by'], rows)}
A request with \`check_mode\` is answered with what it would do; nothing is changed.
`;
}

/** Every permission: who has it, and which requests need it. */
export function permissionsPage({ paths = {} }: OpenAPI3): string {
  const requests = new Map<string, string[]>();
  for (const [path, item] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(item as Record<string, OperationObject>)) {
      const { 'x-permission': permission } = operation as { 'x-permission'?: string };
      if (permission === undefined) continue;
      requests.set(permission, [...(requests.get(permission) ?? []), requestLink(method.toUpperCase(), path)]);
    }
  }
  const rows = PERMISSIONS.map((permission) => [
    `\`${permission}\`${GLOBAL_PERMISSIONS.includes(permission) ? ' (all workspaces)' : ''}`,
    ...ROLE_NAMES.map((role) => grant(role, permission)),
    (requests.get(permission) ?? []).join(', '),
  ]);
  return `# Permissions

${NOTE}

A user has [roles](guides/users-and-tokens.md), each in one workspace or in all; a token has some of its user's. Each request needs one
permission. "own" means only over what the caller created. A permission marked "all workspaces" needs a role in all workspaces.

${table(['permission', ...ROLE_NAMES, 'requests'], rows)}`;
}

function grant(role: (typeof ROLE_NAMES)[number], permission: Permission): string {
  if (!(ROLES[role] as readonly Permission[]).includes(permission)) return '';
  return OWN_ONLY[role]?.includes(permission) === true ? 'own' : 'yes';
}

function undoText({ undo }: NodeKind): string {
  const ways = COMPLETED.flatMap(({ input, fields }) => {
    const how = undo?.({ operationId: '', status: 'completed', input, result: {}, fields, leftover: false });
    if (how === undefined || how.how === 'nothing') return [];
    if (how.how === 'keep') return [`not undone: ${how.why}`];
    return [how.how === 'node' ? `\`${how.kind}\`` : '`workflow.rollback`'];
  });
  return ways.length === 0 ? 'nothing to undo' : [...new Set(ways)].join('; ');
}

/** To its place in docs/api.md. */
function requestLink(method: string, path: string): string {
  const anchor = `${method} ${path}`
    .toLowerCase()
    .replaceAll(/[^a-z0-9 _-]/g, '')
    .replaceAll(' ', '-');
  return `[\`${method} ${path}\`](api.md#${anchor})`;
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('');
}
