import { UsageError } from '../errors.ts';

export const ROLES = ['admin', 'operator', 'developer', 'viewer', 'auditor'] as const;

export const ROLE_OPTION = {
  flags: '--role <role[:workspace]>',
  description: `${ROLES.join(', ')}; with a workspace only there; may be given several times`,
  repeatable: true,
};

/** `developer:staging` → a binding of the API. @throws UsageError */
export function roleBindings(given: string[] | undefined) {
  return given?.map((text) => {
    const [name, workspace, ...rest] = text.split(':');
    const role = ROLES.find((known) => known === name);
    if (role === undefined || rest.length > 0 || workspace === '') {
      throw new UsageError(
        `--role ${text}: give one of ${ROLES.join(', ')}, with ":workspace" behind it where it is bound to one.`,
      );
    }
    return { role, workspace: workspace ?? null };
  });
}

/** Bindings as a person reads them. */
export function rolesText({
  roles,
}: {
  roles: { role: string; workspace: string | null; permissions?: string[] }[];
}): string {
  return roles
    .map(({ role, workspace, permissions }) => {
      const bound = workspace === null ? role : `${role}:${workspace}`;
      return permissions === undefined ? bound : `${bound}(${permissions.join(' ')})`;
    })
    .join(',');
}
