import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import type { AccountName } from './store.ts';

const accountOf = ({ workspace }: AccountName) => workspace ?? '';

/**
 * Takes the accounts whose turn has come. The turn is the replica's until `endTurn`, or until it is struck off the list of
 * replicas: then it is due at once. An account that is new is due after one interval.
 * @param leaseSeconds for so long a replica of the version before, which knows no holders, keeps away.
 * @returns those that are this replica's now.
 */
export async function takeDueAccounts(
  db: Queryable,
  accounts: readonly AccountName[],
  { replica, intervalSeconds, leaseSeconds }: { replica: string; intervalSeconds: number; leaseSeconds: number },
): Promise<AccountName[]> {
  const providers = accounts.map(({ provider }) => provider);
  const names = accounts.map(accountOf);
  await sql`
    insert into provisioning.account_sweeps (provider, account, due_at)
    select a.provider, a.account, now() + make_interval(secs => ${intervalSeconds}::float8)
    from unnest(${providers}::text[], ${names}::text[]) as a (provider, account)
    where not exists (select from provisioning.account_sweeps s where s.provider = a.provider and s.account = a.account)
    on conflict do nothing`.execute(db);
  const { rows } = await sql<{ provider: string; account: string }>`
    update provisioning.account_sweeps
    set due_at = now() + make_interval(secs => ${leaseSeconds}::float8), holder = ${replica}
    where (provider, account) in (
      select s.provider, s.account
      from provisioning.account_sweeps s
        join unnest(${providers}::text[], ${names}::text[]) as a (provider, account) using (provider, account)
        left join provisioning.replicas h on h.id = s.holder
      where case when s.holder is null or s.holder = ${replica} then s.due_at <= now() else h.id is null end
      for update of s skip locked)
    returning provider, account`.execute(db);
  return rows.map(({ provider, account }) => ({ provider, workspace: account === '' ? null : account }));
}

/** Sets when the account's next turn is, and why this one came to nothing. A turn that another one has by now is left alone. */
export async function endTurn(
  db: Queryable,
  account: AccountName,
  { replica, intervalSeconds, error }: { replica: string; intervalSeconds: number; error: string | null },
): Promise<void> {
  await sql`
    update provisioning.account_sweeps
    set due_at = now() + make_interval(secs => ${intervalSeconds}::float8), error = ${error}, holder = null
    where provider = ${account.provider} and account = ${accountOf(account)} and holder = ${replica}`.execute(db);
}

/**
 * Holds the account's books until the transaction ends, for what was listed at `listedAt`.
 * @returns false where a list that was asked for later has been entered already.
 */
export async function openBooks(tx: Queryable, account: AccountName, listedAt: Date): Promise<boolean> {
  const { rows } = await sql`
    insert into provisioning.account_sweeps as s (provider, account, due_at, listed_at)
    values (${account.provider}, ${accountOf(account)}, now(), ${listedAt})
    on conflict (provider, account) do update set listed_at = excluded.listed_at
      where s.listed_at is null or s.listed_at < excluded.listed_at
    returning 1`.execute(tx);
  return rows.length > 0;
}
