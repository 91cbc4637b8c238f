import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import type { AccountName } from './store.ts';

const accountOf = ({ workspace }: AccountName) => workspace ?? '';

/**
 * Takes the accounts whose turn has come, for so long that a replica that dies in between is soon replaced. An account
 * that is new is due after one interval.
 * @returns those that are this caller's now.
 */
export async function takeDueAccounts(
  db: Queryable,
  accounts: readonly AccountName[],
  { intervalSeconds, leaseSeconds }: { intervalSeconds: number; leaseSeconds: number },
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
    set due_at = now() + make_interval(secs => ${leaseSeconds}::float8)
    where (provider, account) in (
      select s.provider, s.account
      from provisioning.account_sweeps s
        join unnest(${providers}::text[], ${names}::text[]) as a (provider, account) using (provider, account)
      where s.due_at <= now() for update of s skip locked)
    returning provider, account`.execute(db);
  return rows.map(({ provider, account }) => ({ provider, workspace: account === '' ? null : account }));
}

/** Sets when the account's next turn is, and why this one came to nothing. */
export async function endTurn(
  db: Queryable,
  account: AccountName,
  intervalSeconds: number,
  error: string | null,
): Promise<void> {
  await sql`
    update provisioning.account_sweeps
    set due_at = now() + make_interval(secs => ${intervalSeconds}::float8), error = ${error}
    where provider = ${account.provider} and account = ${accountOf(account)}`.execute(db);
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
