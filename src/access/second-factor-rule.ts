import type { RoleBinding } from '../database/tables.ts';

/** Whether a second factor, where administrators need one, is what the user's roles wait for. An issuer asks its users for it. */
export function waitsForSecondFactor(user: {
  bindings: readonly RoleBinding[];
  /** Null: they are a person. */
  service_workspace: string | null;
  totp: boolean;
  sso: boolean;
  /** Their issuer must say how they signed in (`required_acr`, `required_amr`). */
  sso_factor: boolean;
}): boolean {
  const shown = user.sso ? user.sso_factor : user.totp;
  return user.service_workspace === null && !shown && user.bindings.some(({ role }) => role === 'admin');
}
