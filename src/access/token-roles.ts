import type { RoleBinding } from '../database/tables.ts';
import { OWN_ONLY, type Permission, ROLE_NAMES, ROLES, type Role } from './permissions.ts';

/** Whether `greater` permits all that `lesser` does, over as much. */
function covers(greater: Role, lesser: Role): boolean {
  const ownOnly = (role: Role, permission: Permission) => (OWN_ONLY[role] ?? []).includes(permission);
  const held: readonly Permission[] = ROLES[greater];
  return ROLES[lesser].every(
    (permission) => held.includes(permission) && (ownOnly(lesser, permission) || !ownOnly(greater, permission)),
  );
}

/** The greatest roles that both roles cover: of `developer` and `auditor`, `viewer`. */
function common(a: string, b: string): Role[] {
  const names = ROLE_NAMES.filter((role) => role === a || role === b);
  const shared = ROLE_NAMES.filter((role) => isRole(a) && isRole(b) && names.every((name) => covers(name, role)));
  return shared.filter((role) => !shared.some((other) => other !== role && covers(other, role)));
}

function isRole(name: string): name is Role {
  return name in ROLES;
}

/** What is in both lists: never more than either. A token's roles and what its owner holds at this moment. */
export function intersectBindings(wanted: readonly RoleBinding[], held: readonly RoleBinding[]): RoleBinding[] {
  const result = new Map<string, RoleBinding>();
  for (const a of wanted) {
    for (const b of held) {
      if (a.workspace !== null && b.workspace !== null && a.workspace !== b.workspace) continue;
      const workspace = a.workspace ?? b.workspace;
      const permissions = commonPermissions(a, b);
      if (permissions?.length === 0) continue;
      for (const role of common(a.role, b.role)) {
        const binding = { role, workspace, ...(permissions === undefined ? {} : { permissions }) };
        result.set(`${role} ${workspace ?? '*'} ${permissions?.join() ?? '*'}`, binding);
      }
    }
  }
  return [...result.values()];
}

/** Undefined: both are narrowed to none. */
function commonPermissions({ permissions: a }: RoleBinding, { permissions: b }: RoleBinding): string[] | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a.filter((permission) => b.includes(permission));
}

/** What is left of bindings in these workspaces, with these permissions. Undefined: all of them. */
export function narrowBindings(
  bindings: readonly RoleBinding[],
  workspaces: readonly string[] | undefined,
  permissions: readonly Permission[] | undefined,
): RoleBinding[] {
  return bindings.flatMap((binding) => {
    const narrowed = permissions === undefined ? binding : withPermissions(binding, permissions);
    if (narrowed === null) return [];
    if (workspaces === undefined) return [narrowed];
    const { workspace } = narrowed;
    if (workspace !== null) return workspaces.includes(workspace) ? [narrowed] : [];
    return workspaces.map((name) => ({ ...narrowed, workspace: name }));
  });
}

/** Null: the binding grants none of them. */
function withPermissions(binding: RoleBinding, wanted: readonly Permission[]): RoleBinding | null {
  const held: readonly Permission[] = isRole(binding.role) ? ROLES[binding.role] : [];
  const permissions = wanted.filter(
    (permission) => held.includes(permission) && (binding.permissions?.includes(permission) ?? true),
  );
  return permissions.length === 0 ? null : { ...binding, permissions };
}

/** Whether the holder may pass this binding on whole. */
export function holdsBinding(held: readonly RoleBinding[], wanted: RoleBinding): boolean {
  return intersectBindings([wanted], held).some(
    (binding) =>
      binding.role === wanted.role &&
      binding.workspace === wanted.workspace &&
      binding.permissions?.length === wanted.permissions?.length,
  );
}
