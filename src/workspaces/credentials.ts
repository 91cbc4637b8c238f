/** Accounts that a workspace has at clouds: credentials go in, and never come out again. */

import type { Encryption } from '../access/encryption.ts';
import { isPermitted, type Principal, requirePermission } from '../access/permissions.ts';
import type { Queryable } from '../database/pool.ts';
import { ApplicationError, errors, type FieldProblem } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import type { CloudKind, Credentials } from '../providers/clouds.ts';
import { type Provider, ProviderError } from '../providers/contract.ts';
import type { KeptAccounts, ProviderRegistry } from '../providers/registry.ts';
import { nearMatches } from '../util/near-matches.ts';
import {
  allEncryptedCredentials,
  deleteCredentials,
  encryptedCredentials,
  listCredentials,
  putCredentials,
  serversAt,
} from './credentials-store.ts';
import { findWorkspace, lockWorkspace } from './store.ts';

/** Whoever sets credentials waits no longer than this for the cloud to try them. Seconds. */
const PATIENCE = 10;

/** What credentials are encrypted for: they open for nothing else. */
function contextOf(provider: string, workspace: string): string {
  return `credentials of ${workspace} at ${provider}`;
}

/** The workspaces' accounts for the registry. */
export function keptAccounts(db: Queryable, encryption: Encryption): KeptAccounts {
  const opened = (encrypted: string, provider: string, workspace: string): Credentials =>
    JSON.parse(encryption.decrypt(encrypted, contextOf(provider, workspace)));
  return {
    async find(provider, workspace) {
      const encrypted = await encryptedCredentials(db, provider, workspace);
      return encrypted === null ? null : opened(encrypted, provider, workspace);
    },
    async list() {
      return (await allEncryptedCredentials(db)).map(({ provider, workspace, credentials: encrypted }) => ({
        provider,
        workspace,
        credentials: opened(encrypted, provider, workspace),
      }));
    },
  };
}

/** JSON text of the workspace's accounts. @throws 404 also where the caller may not see the workspace. */
export async function readCredentials(services: Services, principal: Principal, workspace: string): Promise<string> {
  await requireVisible(services, principal, workspace);
  return `[${(await listCredentials(services.db, workspace)).join(',')}]`;
}

async function requireVisible({ db }: Services, principal: Principal, workspace: string): Promise<void> {
  if (!isPermitted(principal, 'workspace_read', workspace)) throw errors.hidden('workspace', workspace);
  if ((await findWorkspace(db, workspace)) === null) throw errors.notFound('workspace', workspace);
}

function requireMay(principal: Principal, workspace: string): void {
  requirePermission(principal, 'credential_write', {
    what: 'workspace',
    id: workspace,
    workspace,
    ownerId: null,
    read: 'workspace_read',
  });
}

/**
 * Tries the credentials at the cloud, before anything is written. They must belong to the account in which the
 * workspace's servers stand.
 * @returns the refs of all servers that can be seen with them.
 * @throws 400 where they lack something or the cloud refuses them, 404, 409 where servers of the workspace cannot be
 * seen with them, 503 where the cloud cannot be asked.
 */
export async function checkCredentials(
  services: Services,
  principal: Principal,
  workspace: string,
  name: string,
  credentials: Credentials,
): Promise<ReadonlySet<string>> {
  await requireVisible(services, principal, workspace);
  requireMay(principal, workspace);
  const cloud = requireCloud(services.providers, name);
  const problems = problemsOf(cloud, credentials);
  if (problems.length > 0) throw errors.validation(problems);
  const provider = openAccount(services.providers, cloud, credentials);
  const seen = new Set((await tryOut(provider)).map(({ ref }) => ref));
  refuseMissing(workspace, name, await serversAt(services.db, workspace, name), seen);
  return seen;
}

/** One that can be seen proves the account: then what is being deleted and cannot be seen is gone, not elsewhere. */
function refuseMissing(
  workspace: string,
  provider: string,
  { refs, going }: { refs: readonly string[]; going: readonly string[] },
  seen: ReadonlySet<string>,
): void {
  const proven = refs.some((ref) => seen.has(ref));
  const missing = refs.filter((ref) => !seen.has(ref) && !(proven && going.includes(ref)));
  if (missing.length === 0) return;
  throw errors.conflict(
    `These credentials give no access to ${missing.length} of the ${refs.length} servers of workspace "${workspace}" at ${provider}, which belong to another account. Delete those servers first, or use another workspace.`,
    { provider_refs: missing.slice(0, 20) },
  );
}

function requireCloud(providers: ProviderRegistry, name: string): CloudKind {
  const cloud = providers.cloud(name);
  if (cloud !== undefined) return cloud;
  const names = providers.clouds().map((known) => known.name);
  throw errors.validation([
    {
      field: 'provider',
      message: `workspaces have accounts at ${names.join(', ')}, not at "${name}"`,
      near_matches: nearMatches(name, names),
    },
  ]);
}

/** Never with a value in it. */
function problemsOf({ name, ways, optional }: CloudKind, credentials: Credentials): FieldProblem[] {
  const fields = Object.keys(credentials);
  const wanted = ways.map((way) => way.join(' and ')).join(', or ');
  const fits = ways.some((way) => way.every((field) => fields.includes(field)) && !extra(way));
  const unsafe = Object.entries(credentials).filter(
    ([field, value]) => field !== 'password' && !/^[\x21-\x7e]+$/.test(value),
  );
  function extra(way: readonly string[]): boolean {
    return fields.some((field) => !way.includes(field) && !optional.includes(field));
  }
  return [
    ...(fits ? [] : [{ field: 'body', message: `credentials for ${name} are ${wanted}` }]),
    ...unsafe.map(([field]) => ({
      field,
      message: 'contains characters that are not valid in this credential (a line break?)',
    })),
  ];
}

function openAccount(providers: ProviderRegistry, cloud: CloudKind, credentials: Credentials): Provider {
  try {
    return providers.open(cloud, credentials);
  } catch (error) {
    const [field = 'body', message = ''] = (error instanceof Error ? error.message : '').split(': ');
    throw errors.validation([{ field, message }]);
  }
}

async function tryOut(provider: Provider) {
  try {
    // One that is being taken over has none of our labels yet.
    return await provider.listServers({ patience: PATIENCE, unlabelled: true });
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    if (error.code === 'AUTHENTICATION_FAILED' || error.code === 'FORBIDDEN') {
      throw errors.validation([{ field: 'body', message: error.message }]);
    }
    throw new ApplicationError(503, 'SERVICE_UNAVAILABLE', `The credentials could not be tried: ${error.message}`, {
      retryAfter: error.retryAfter ?? 5,
    });
  }
}

/**
 * Keeps what `checkCredentials` has tried. Operations that are under way go on with the new ones.
 * @param seen what it has seen. A server of the workspace among it proves that it is the same account; without such a
 * proof a server that is being made could be lost from sight.
 */
export async function setCredentials(
  { encryption }: Services,
  { tx, principal, audit }: Mutation,
  workspace: string,
  provider: string,
  credentials: Credentials,
  seen: ReadonlySet<string>,
): Promise<Answer> {
  requireMay(principal, workspace);
  if ((await lockWorkspace(tx, workspace)) === null) throw errors.notFound('workspace', workspace);
  const servers = await serversAt(tx, workspace, provider);
  refuseMissing(workspace, provider, servers, seen);
  const { making } = servers;
  if (making > 0 && servers.refs.length === 0) {
    throw errors.conflict(
      `${making} servers of workspace "${workspace}" are being created or cleaned up at ${provider}. With other credentials they could not be managed any more. Try again when these operations have ended.`,
      { servers: making },
    );
  }
  const fields = Object.keys(credentials).toSorted();
  const encrypted = encryption.encrypt(JSON.stringify(credentials), contextOf(provider, workspace));
  const body = await putCredentials(tx, { workspace, provider, encrypted, fields, by: principal.name });
  audit({ action: 'credentials.set', workspace, resource: `credentials:${provider}`, details: { fields } });
  return { body };
}

/**
 * Forgets a workspace's account.
 * @throws 404; 409 while the workspace has servers there: nobody could delete them any more.
 */
export async function removeCredentials(
  { tx, principal, audit }: Mutation,
  workspace: string,
  provider: string,
): Promise<Answer> {
  requireMay(principal, workspace);
  if ((await lockWorkspace(tx, workspace)) === null) throw errors.notFound('workspace', workspace);
  const { count } = await serversAt(tx, workspace, provider);
  if (count > 0) {
    throw errors.conflict(
      `Workspace "${workspace}" has ${count} servers at ${provider}, which cannot be deleted without these credentials. Delete the servers first.`,
      { servers: count },
    );
  }
  if (!(await deleteCredentials(tx, workspace, provider))) throw errors.notFound('account at', provider);
  audit({ action: 'credentials.delete', workspace, resource: `credentials:${provider}` });
  return { body: { workspace, provider, deleted: true } };
}
