import type { RoleBinding } from '../database/tables.ts';
import { errors } from '../errors.ts';
import type { Exchange } from './token-store.ts';

/** Everything that can be permitted. Routes name one of these. */
export const PERMISSIONS = [
  'server_read',
  'server_create',
  'server_update',
  'server_delete',
  'taskserv_read',
  'taskserv_create',
  'taskserv_update',
  'taskserv_delete',
  'taskserv_privileged',
  'protection_remove',
  'taskserv_kubeconfig',
  'workflow_read',
  'workflow_submit',
  'workflow_cancel',
  'workflow_approve',
  'operation_read',
  'operation_cancel',
  'workspace_read',
  'workspace_create',
  'workspace_update',
  'workspace_delete',
  'workspace_limit',
  'credential_write',
  'secret_read',
  'secret_write',
  'webhook_read',
  'webhook_write',
  'provider_read',
  'catalog_read',
  'system_metrics',
  'service_account_read',
  'service_account_write',
  'user_read',
  'user_write',
  'audit_read',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

const READ: Permission[] = [
  'server_read',
  'taskserv_read',
  'workflow_read',
  'operation_read',
  'workspace_read',
  'provider_read',
  'catalog_read',
  'system_metrics',
];

/** The table role × permission. Nothing else grants anything. */
export const ROLES = {
  admin: [...PERMISSIONS],
  operator: [
    ...READ,
    'server_create',
    'server_update',
    'server_delete',
    'taskserv_create',
    'taskserv_update',
    'taskserv_delete',
    'taskserv_privileged',
    'protection_remove',
    'taskserv_kubeconfig',
    'workflow_submit',
    'workflow_cancel',
    'workflow_approve',
    'operation_cancel',
    'workspace_create',
    'workspace_update',
    'workspace_delete',
    'credential_write',
    'secret_read',
    'secret_write',
    'webhook_read',
    'webhook_write',
    'service_account_read',
  ],
  // Delete, change, cancel, and use of secrets: only what they made themselves (OWN_ONLY).
  developer: [
    ...READ,
    'server_create',
    'server_update',
    'server_delete',
    'taskserv_create',
    'taskserv_update',
    'taskserv_delete',
    'workflow_submit',
    'workflow_cancel',
    'operation_cancel',
    'secret_read',
    'secret_write',
  ],
  viewer: [...READ],
  auditor: [...READ, 'audit_read'],
} as const satisfies Record<string, readonly Permission[]>;
export type Role = keyof typeof ROLES;
export const ROLE_NAMES = Object.keys(ROLES) as Role[];

/** Permissions that a role holds only over what its bearer created. */
export const OWN_ONLY: Partial<Record<Role, readonly Permission[]>> = {
  developer: [
    'server_update',
    'server_delete',
    'taskserv_update',
    'taskserv_delete',
    'workflow_cancel',
    'operation_cancel',
    'secret_read',
    'secret_write',
  ],
};

/** Permissions over the whole installation: only a binding to all workspaces (`workspace: null`) grants them. */
export const GLOBAL_PERMISSIONS: readonly Permission[] = [
  'workspace_create',
  'workspace_limit',
  'user_read',
  'user_write',
  'audit_read',
  'system_metrics',
];

/** The authenticated caller. */
export interface Principal {
  userId: string;
  /** User name: what `created_by` holds, also for the user's API tokens. */
  name: string;
  /** For the audit log: the user name, or `name (token ci)`. */
  label: string;
  /** Null for a login; the token's id where one was used. */
  tokenId: string | null;
  /** Of a login; absent where its access token is of a version that knew no sessions. */
  sessionId?: string;
  /** The token is one of minutes, that a job of CI got for its own: what the job begins goes on after it. */
  exchanged?: Exchange;
  /** They have no roles until they set up the second factor that is asked of them. */
  lacksSecondFactor?: true;
  bindings: readonly RoleBinding[];
}

/** Whether the binding grants the permission, wherever it holds. */
function grants({ role, permissions }: RoleBinding, permission: Permission): boolean {
  const held: readonly Permission[] = role in ROLES ? ROLES[role as Role] : [];
  return held.includes(permission) && (permissions === undefined || permissions.includes(permission));
}

/** Whether the principal holds the permission in the workspace, or anywhere at all where none is given. */
export function isPermitted(principal: Principal, permission: Permission, workspace?: string): boolean {
  const global = GLOBAL_PERMISSIONS.includes(permission);
  return principal.bindings.some(
    (binding) =>
      grants(binding, permission) &&
      (binding.workspace === null || (!global && (workspace === undefined || binding.workspace === workspace))),
  );
}

/** Whether the permission holds in the workspace also over what others made. */
export function isPermittedOverOthers(principal: Principal, permission: Permission, workspace: string): boolean {
  return principal.bindings.some(
    (binding) =>
      grants(binding, permission) &&
      (binding.workspace === null || binding.workspace === workspace) &&
      !(OWN_ONLY[binding.role as Role] ?? []).includes(permission),
  );
}

/** The workspaces in which the permission holds; null: in all. @param overOthers also over what others made. */
export function permittedWorkspaces(principal: Principal, permission: Permission, overOthers = false): string[] | null {
  const holding = principal.bindings.filter(
    (binding) =>
      grants(binding, permission) && !(overOthers && (OWN_ONLY[binding.role as Role] ?? []).includes(permission)),
  );
  if (holding.some((binding) => binding.workspace === null)) return null;
  return [...new Set(holding.flatMap((binding) => binding.workspace ?? []))];
}

/**
 * Lets the caller act on a thing of this workspace, or says no in the way that gives away least: what they may not
 * read does not exist for them.
 * @throws 404 where they may not even read it, 403 otherwise.
 */
export function requirePermission(
  principal: Principal,
  permission: Permission,
  thing: { what: string; id: string; workspace: string; ownerId: string | null; read: Permission },
): void {
  if (!isPermitted(principal, thing.read, thing.workspace)) throw errors.hidden(thing.what, thing.id);
  if (!isPermitted(principal, permission, thing.workspace)) throw errors.forbidden(permission, thing.workspace);
  const own = thing.ownerId === principal.userId;
  if (!own && !isPermittedOverOthers(principal, permission, thing.workspace)) {
    throw errors.notYours(`${thing.what} ${thing.id}`);
  }
}

/**
 * What outlives the caller's token, or has more rights than it, is for those who have logged in.
 * @param what which an API token cannot do. @throws 409.
 */
export function requireLogin(principal: Principal, what: string): void {
  if (principal.tokenId !== null) {
    throw errors.conflict(`An API token cannot ${what}. Log in with a password to do that.`);
  }
}
