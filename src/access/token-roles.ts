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
      for (const role of common(a.role, b.role)) result.set(`${role} ${workspace ?? '*'}`, { role, workspace });
    }
  }
  return [...result.values()];
}

/** Whether the holder may pass this binding on whole. */
export function holdsBinding(held: readonly RoleBinding[], wanted: RoleBinding): boolean {
  return intersectBindings([wanted], held).some(
    (binding) => binding.role === wanted.role && binding.workspace === wanted.workspace,
  );
}
