import { sql } from 'kysely';
import type { ReachedServer } from '../access/reach.ts';
import type { Queryable } from '../database/pool.ts';
import { readHostKey } from '../transports/keys.ts';

/** How a server is entered over SSH. */
export interface ServerSsh {
  user: string;
  port: number;
  /** `ssh-ed25519 AAAA…`; null until it was first seen. */
  host_key: string | null;
  /** The machine on the way to it. */
  jump: { address: string; port: number; user: string } | null;
  jump_host_key: string | null;
}

/** What holds where nothing else was said. */
const USUAL: ServerSsh = { user: 'root', port: 22, host_key: null, jump: null, jump_host_key: null };

export async function readServerSsh(db: Queryable, serverId: string): Promise<ServerSsh> {
  const row = await db
    .selectFrom('provisioning.server_ssh')
    .select(['ssh_user as user', 'port', 'host_key', 'jump', 'jump_host_key'])
    .where('server_id', '=', serverId)
    .executeTakeFirst();
  return row ?? USUAL;
}

export async function insertServerSsh(tx: Queryable, serverId: string, ssh: ServerSsh): Promise<void> {
  await tx
    .insertInto('provisioning.server_ssh')
    .values({
      server_id: serverId,
      ssh_user: ssh.user,
      port: ssh.port,
      host_key: ssh.host_key,
      jump: ssh.jump === null ? null : JSON.stringify(ssh.jump),
      jump_host_key: ssh.jump_host_key,
    })
    .execute();
}

/** Keeps a host key that was seen for the first time. @returns the one that is kept: of two at once, the faster one's. */
export async function pinHostKey(
  db: Queryable,
  serverId: string,
  which: 'host_key' | 'jump_host_key',
  seen: string,
): Promise<string> {
  const column = sql.ref(which);
  const { rows } = await sql<{ kept: string }>`
    insert into provisioning.server_ssh as ssh (server_id, ${column}) values (${serverId}, ${seen})
    on conflict (server_id) do update set ${column} = coalesce(ssh.${column}, excluded.${column})
    returning ${column} as kept`.execute(db);
  return rows[0]?.kept ?? seen;
}

/** Keeps the host key that a server was made with. Where it makes its own, the one that it shows next is kept. */
export async function pinGivenKey(tx: Queryable, serverId: string, publicKey: string | null): Promise<void> {
  if (publicKey === null) return forgetHostKeys(tx, serverId);
  await sql`
    insert into provisioning.server_ssh (server_id, host_key) values (${serverId}, ${readHostKey(publicKey)})
    on conflict (server_id) do update set host_key = excluded.host_key`.execute(tx);
}

/** Forgets the host keys: the next ones seen are kept. */
export async function forgetHostKeys(tx: Queryable, serverId: string): Promise<void> {
  await tx
    .updateTable('provisioning.server_ssh')
    .set({ host_key: null, jump_host_key: null })
    .where('server_id', '=', serverId)
    .execute();
}

/**
 * The server that stands for the machine at this address and port already: one of whichever workspace that no provider
 * made, or one of this workspace, which its key opens.
 */
export async function serverAt(
  tx: Queryable,
  workspace: string,
  address: string,
  port: number,
): Promise<ReachedServer | null> {
  const { rows } = await sql<ReachedServer>`
    select s.id, s.workspace, s.owner_id
    from provisioning.servers s left join provisioning.server_ssh ssh on ssh.server_id = s.id
    where (s.provider = 'existing' or s.workspace = ${workspace})
      and s.ip_address = ${address} and coalesce(ssh.port, ${USUAL.port}::int) = ${port}::int limit 1`.execute(tx);
  return rows[0] ?? null;
}

/**
 * Whether a server shows this host key that the machine's owner may not reach: neither theirs, nor in a workspace of which
 * they reach all. @param machine `reached` null: they reach every workspace.
 */
export async function isStrangersKey(
  db: Queryable,
  hostKey: string,
  machine: { serverId: string | null; ownerId: string | null; reached: readonly string[] | null },
): Promise<boolean> {
  if (machine.reached === null) return false;
  const { rows } = await sql<{ known: boolean }>`
    select exists (
      select from provisioning.server_ssh ssh join provisioning.servers s on s.id = ssh.server_id
      where ssh.host_key = ${hostKey} and s.id is distinct from ${machine.serverId}
        and (s.owner_id = ${machine.ownerId}::uuid) is not true
        and s.workspace <> all(${[...machine.reached]}::text[])) as known`.execute(db);
  return rows[0]?.known === true;
}

/** This server, and the others of which this host key is kept. */
export async function serversShowing(db: Queryable, hostKey: string, serverId: string): Promise<ReachedServer[]> {
  const { rows } = await sql<ReachedServer>`
    select id, workspace, owner_id from provisioning.servers
    where id = ${serverId} or id in (select server_id from provisioning.server_ssh where host_key = ${hostKey})`.execute(
    db,
  );
  return rows;
}

/** Serialises imports of one machine until the caller's transaction ends. */
export async function lockMachine(tx: Queryable, address: string, port: number): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`machine ${address} ${port}`}, 0))`.execute(tx);
}

/** Writes what the first look at an imported machine showed, and that it can be worked on. */
export async function adoptServer(tx: Queryable, serverId: string, plan: string): Promise<void> {
  await tx
    .updateTable('provisioning.servers')
    .set({ status: 'running', plan, provider_ref: serverId, updated_at: sql`now()` })
    .where('id', '=', serverId)
    .execute();
}

/** Gives an imported machine's address to its new row. */
export async function setAddress(tx: Queryable, serverId: string, address: string): Promise<void> {
  await tx.updateTable('provisioning.servers').set({ ip_address: address }).where('id', '=', serverId).execute();
}
