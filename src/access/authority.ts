/** On whose behalf something goes on after the request that asked for it, and what is left of that later. */
import { sql } from 'kysely';
import type { Config } from '../config.ts';
import type { Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import type { Principal } from './permissions.ts';
import { waitsForSecondFactor } from './second-factor-rule.ts';
import { ISSUER_FACTOR } from './store.ts';
import { intersectBindings } from './token-roles.ts';
import type { Exchange } from './token-store.ts';

/** As it is stored: who, with which API token, and what they were permitted when they asked. */
export interface Authority {
  userId: string;
  name: string;
  /** Null: they had logged in, or the token is not what the rest depends on. */
  tokenId: string | null;
  bindings: readonly RoleBinding[];
  /** The rule by which the token of the job that began it was made: it ends with that, and not with the token. */
  exchange?: Exchange;
}

export function authorityOf({ userId, name, tokenId, bindings, exchanged }: Principal): Authority {
  return { userId, name, tokenId, bindings, ...(exchanged && { exchange: exchanged }) };
}

/** Of work that is begun once: it goes on after the token of minutes of a job that began it, with what that was permitted. */
export function authorityOfRun(principal: Principal): Authority {
  return authorityOf(principal.exchanged === undefined ? principal : { ...principal, tokenId: null });
}

/** What is left of an authority now. */
export interface PresentAuthority {
  /** What was permitted then and still is. */
  bindings: RoleBinding[];
  /** Why nothing is left; null: something is. */
  ended: string | null;
}

interface Holder {
  present: boolean;
  disabled: boolean;
  service_workspace: string | null;
  totp: boolean;
  sso: boolean;
  sso_factor: boolean;
  bindings: RoleBinding[];
  /** Null: the token is deleted, revoked or expired. */
  token_roles: RoleBinding[] | null;
  /** The rule by which a job got its token holds. */
  exchanges: boolean;
}

/**
 * What that user and that token may do now of what they were permitted then.
 * @param adminTotp administrators have no roles until they have a second factor.
 */
export async function presentAuthority(
  db: Queryable,
  authority: Authority,
  { adminTotp }: Pick<Config, 'adminTotp'>,
): Promise<PresentAuthority> {
  const { rows } = await sql<Holder>`
    select u.id is not null as present, coalesce(u.disabled, false) as disabled, u.service_workspace,
           exists (select from provisioning.second_factors f where f.user_id = u.id and f.secret is not null) as totp,
           exists (select from provisioning.identities i where i.user_id = u.id) as sso,
           ${sql.raw(ISSUER_FACTOR('u.id'))} as sso_factor,
           (select coalesce(json_agg(json_build_object('role', b.role, 'workspace', b.workspace)), '[]')
            from provisioning.role_bindings b where b.user_id = a.user_id) as bindings,
           coalesce(t.narrowed, t.roles) as token_roles,
           exists (select from provisioning.exchange_rules r
             join provisioning.identity_providers p on p.id = r.provider_id and p.enabled
             where r.provider_id = ${authority.exchange?.provider ?? null}::uuid and r.name = ${authority.exchange?.rule ?? null}::text
               and r.account_id = a.user_id and not r.stopped) as exchanges
    from (select ${authority.userId}::uuid as user_id, ${authority.tokenId}::uuid as token_id) a
      left join provisioning.users u on u.id = a.user_id
      left join provisioning.api_tokens t on t.id = a.token_id and t.user_id = a.user_id
        and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())`.execute(db);
  return leftOf(authority, rows[0], adminTotp);
}

function leftOf(
  { name, tokenId, bindings, exchange }: Authority,
  holder: Holder | undefined,
  adminTotp: boolean,
): PresentAuthority {
  const ended = (reason: string): PresentAuthority => ({ bindings: [], ended: reason });
  if (holder === undefined || !holder.present) return ended(`the user "${name}" has been deleted`);
  if (holder.disabled) return ended(`the user "${name}" is disabled`);
  if (tokenId !== null && holder.token_roles === null) {
    return ended(`the API token of "${name}" that asked for it has been revoked or has expired`);
  }
  if (exchange !== undefined && !holder.exchanges) {
    return ended(`the rule "${exchange.rule}" by which a job got a token of "${name}" has been removed or stopped`);
  }
  if (adminTotp && waitsForSecondFactor(holder)) {
    return ended(`the administrator "${name}" has no second factor, which PROVISIONING_ADMIN_TOTP asks for`);
  }
  const held = holder.token_roles === null ? holder.bindings : intersectBindings(holder.token_roles, holder.bindings);
  const left = intersectBindings(bindings, held);
  return left.length === 0
    ? ended(`the user "${name}" has none of the roles any more that it was asked for with`)
    : { bindings: left, ended: null };
}
