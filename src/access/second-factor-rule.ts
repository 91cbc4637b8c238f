import type { RoleBinding } from '../database/tables.ts';

/** Whether a second factor, where administrators need one, is what the user's roles wait for. */
export function waitsForSecondFactor(user: {
  bindings: readonly RoleBinding[];
  /** Null: they are a person. */
  service_workspace: string | null;
  totp: boolean;
}): boolean {
  return user.service_workspace === null && !user.totp && user.bindings.some(({ role }) => role === 'admin');
}
