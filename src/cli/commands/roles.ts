import { UsageError } from '../errors.ts';

export const ROLES = ['admin', 'operator', 'developer', 'viewer', 'auditor'] as const;

export const ROLE_OPTION = {
  flags: '--role <role[:workspace]>',
  description: `${ROLES.join(', ')}; add :workspace to limit it to one workspace; can be repeated`,
  repeatable: true,
};

/** `developer:staging` → a binding of the API. @throws UsageError */
export function roleBindings(given: string[] | undefined) {
  return given?.map((text) => {
    const [name, workspace, ...rest] = text.split(':');
    const role = ROLES.find((known) => known === name);
    if (role === undefined || rest.length > 0 || workspace === '') {
      throw new UsageError(
        `--role ${text}: expected one of ${ROLES.join(', ')}, optionally with ":workspace" after it.`,
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
