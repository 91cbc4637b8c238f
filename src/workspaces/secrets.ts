/** Secrets that users keep in a workspace: written, used, listed, and never shown. */
import { isPermitted, type Principal, requirePermission } from '../access/permissions.ts';
import { ApplicationError, errors, type FieldProblem } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { nearMatches } from '../util/near-matches.ts';
import { type SecretSource, type SourcedSecret, secretContext } from './secret-source.ts';
import { deleteSecretRow, findSecret, putSecret, secretKeys, secretsJson } from './secrets-store.ts';
import { findWorkspace, lockWorkspace } from './store.ts';

/** Bytes of one value, as of a setting of a service. */
const MAX_VALUE_BYTES = 65_536;
/** Secrets of one workspace: each is read when it is used, and all are listed at once. */
const MAX_SECRETS = 1_000;

async function requireVisible({ db }: Pick<Services, 'db'>, principal: Principal, workspace: string): Promise<void> {
  if (!isPermitted(principal, 'workspace_read', workspace)) throw errors.hidden('workspace', workspace);
  if ((await findWorkspace(db, workspace)) === null) throw errors.notFound('workspace', workspace);
  if (!isPermitted(principal, 'secret_read', workspace)) throw errors.forbidden('secret_read', workspace);
}

/** JSON text. @throws 404, 403. */
export async function listSecrets(services: Services, principal: Principal, workspace: string): Promise<string> {
  await requireVisible(services, principal, workspace);
  return secretsJson(services.db, workspace);
}

/** JSON text of what may be told. @throws 404, 403. */
export async function getSecret(
  services: Services,
  principal: Principal,
  workspace: string,
  key: string,
): Promise<string> {
  await requireVisible(services, principal, workspace);
  const row = await findSecret(services.db, workspace, key);
  if (row === null) throw errors.notFound('secret', key);
  return row.json;
}

function requireWrite(principal: Principal, workspace: string, key: string, ownerId: string | null): void {
  requirePermission(principal, 'secret_write', {
    ...{ what: 'secret', id: key, workspace, ownerId },
    read: 'secret_read',
  });
}

/** Keeps a secret, or its next version in the place of the one before. @throws 400, 403, 404, 409. */
export async function setSecret(
  { encryption }: Services,
  { tx, principal, audit }: Mutation,
  workspace: string,
  key: string,
  value: string,
): Promise<Answer> {
  if (Buffer.byteLength(value) > MAX_VALUE_BYTES) {
    throw errors.validation([{ field: 'value', message: `must have at most ${MAX_VALUE_BYTES} bytes` }]);
  }
  if (!isPermitted(principal, 'workspace_read', workspace)) throw errors.hidden('workspace', workspace);
  if ((await lockWorkspace(tx, workspace)) === null) throw errors.notFound('workspace', workspace);
  const before = await findSecret(tx, workspace, key);
  requireWrite(principal, workspace, key, before?.ownerId ?? principal.userId);
  if (before === null && (await secretKeys(tx, workspace)).length >= MAX_SECRETS) {
    throw errors.conflict(
      `Workspace "${workspace}" has ${MAX_SECRETS} secrets, which is the maximum. Delete secrets that are no longer used.`,
      { limit: MAX_SECRETS },
    );
  }
  const version = (before?.version ?? 0) + 1;
  const body = await putSecret(tx, {
    ...{ workspace, key, version, by: principal.name, ownerId: principal.userId },
    value: encryption.encrypt(value, secretContext(workspace, key)),
  });
  audit({ action: 'secret.set', workspace, resource: `secret:${key}`, details: { version } });
  return { body };
}

/** @throws 404, 403. */
export async function deleteSecret(
  { tx, principal, audit }: Mutation,
  workspace: string,
  key: string,
): Promise<Answer> {
  if (!isPermitted(principal, 'workspace_read', workspace)) throw errors.hidden('workspace', workspace);
  if ((await lockWorkspace(tx, workspace)) === null) throw errors.notFound('workspace', workspace);
  const row = await findSecret(tx, workspace, key);
  requireWrite(principal, workspace, key, row?.ownerId ?? principal.userId);
  if (row === null) throw errors.notFound('secret', key);
  await deleteSecretRow(tx, workspace, key);
  audit({ action: 'secret.delete', workspace, resource: `secret:${key}`, details: { version: row.version } });
  return { body: { workspace, key, deleted: true } };
}

/**
 * A secret, for whoever may use it: those can have any host tell it to them.
 * @throws 404 where there is none, 403 where it is not theirs to use.
 */
export async function openSecret(
  source: SecretSource,
  principal: Principal,
  workspace: string,
  key: string,
): Promise<SourcedSecret> {
  const found = await source.read(workspace, key);
  if (!isPermitted(principal, 'secret_read', workspace)) throw errors.forbidden('secret_read', workspace);
  if (found === null) throw errors.notFound(`secret in workspace "${workspace}"`, key);
  requirePermission(principal, 'secret_read', {
    ...{ what: 'secret', id: key, workspace, ownerId: found.ownerId },
    read: 'workspace_read',
  });
  return found;
}

/** The same for many, for a request that names them: what is missing is told with what it may be meant to be. @throws 400, 403. */
export async function requireUsable(
  source: SecretSource,
  principal: Principal,
  workspace: string,
  named: Iterable<{ field: string; key: string }>,
): Promise<void> {
  const problems: FieldProblem[] = [];
  for (const { field, key } of named) {
    try {
      await openSecret(source, principal, workspace, key);
    } catch (error) {
      if (!(error instanceof ApplicationError) || error.status !== 404) throw error;
      problems.push(await missingSecret(source, workspace, field, key));
    }
  }
  if (problems.length > 0) throw errors.validation(problems);
}

async function missingSecret(
  source: SecretSource,
  workspace: string,
  field: string,
  key: string,
): Promise<FieldProblem> {
  const near = nearMatches(key, await source.keys(workspace));
  return {
    field,
    message: `there is no secret "${key}" in workspace "${workspace}": store it with PUT /v1/workspaces/${workspace}/secrets/${key}`,
    ...(near.length === 0 ? {} : { near_matches: near }),
  };
}

/**
 * A config with the references in it, `{"$secret": "<key>"}`, opened: never to be stored or told.
 * @returns the names of those fields. @throws 400, 403.
 */
export async function openConfig(
  source: SecretSource,
  principal: Principal,
  workspace: string,
  config: Record<string, unknown>,
): Promise<{ config: Record<string, unknown>; secretNames: string[] }> {
  const named = Object.entries(config).flatMap(([name, value]) => {
    const key = keyIn(value);
    return key === null ? [] : [{ name, key, field: `config.${name}` }];
  });
  if (named.length === 0) return { config, secretNames: [] };
  await requireUsable(source, principal, workspace, named);
  const opened = await Promise.all(
    named.map(async ({ name, key }) => [name, (await openSecret(source, principal, workspace, key)).value] as const),
  );
  return { config: { ...config, ...Object.fromEntries(opened) }, secretNames: named.map(({ name }) => name) };
}

/** The key that a value refers to; null: it is no reference. */
function keyIn(value: unknown): string | null {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 1) return null;
  const key = (value as { $secret?: unknown }).$secret;
  return typeof key === 'string' ? key : null;
}
