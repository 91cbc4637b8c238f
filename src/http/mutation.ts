import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Selectable } from 'kysely';
import type { Encryption } from '../access/encryption.ts';
import { KEPT_ANSWER, openFormer, requestDigest } from '../access/kept-answers.ts';
import type { Principal } from '../access/permissions.ts';
import { retryingConflicts } from '../database/conflicts.ts';
import type { Database, Queryable } from '../database/pool.ts';
import type { Tables } from '../database/tables.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import { isChecked, takeCheckMode } from './check-mode.ts';
import { principalOf } from './context.ts';

/** One line of the audit log. */
export interface AuditEntry {
  action: string;
  workspace?: string | null;
  resource?: string | null;
  operationId?: string | null;
  details?: Record<string, unknown>;
}

/** What a mutation's work gets. */
export interface Mutation {
  tx: Queryable;
  principal: Principal;
  /** The workflow on whose behalf it is made: what its operations carry as `parent_id`. Null: the caller's own wish. */
  parentId: string | null;
  /** The change is only to be checked: whatever it writes is rolled back. */
  checkMode: boolean;
  /** Written in the same transaction: no change without its trace. */
  audit(entry: AuditEntry): void;
  /** Runs once the transaction has committed. */
  afterCommit(callback: () => void): void;
}

/** What a mutation answers. */
export interface Answer {
  /** JSON text, or a value to make JSON of. */
  body: string | object;
  /** Default 200. */
  status?: number;
  /** Path of what was made or set off. */
  location?: string;
  /** The body holds a secret: it is kept encrypted for a repeated Idempotency-Key. */
  secret?: boolean;
  /**
   * Called after the commit: JSON text that is sent and kept instead of `body`, such as the state a moment later.
   * Should it throw, `body` is the answer: the change is made.
   */
  afterCommitAnswer?: () => Promise<string>;
}

/** Ends the work of a request that is only to be checked. `record` stores and answers what was found, in a new transaction. */
export class CheckedOnly extends Error {
  override readonly name = 'CheckedOnly';
  readonly record: (mutation: Mutation) => Promise<Answer>;
  constructor(record: (mutation: Mutation) => Promise<Answer>) {
    super('the change was only checked');
    this.record = record;
  }
}

/** A change that asks something first: of a provider, say, which no transaction should wait for. */
interface PreparedChange<Prepared> {
  /** Runs outside the transaction, once, and not where the Idempotency-Key has its answer already. */
  prepare(): Promise<Prepared>;
  /** Runs inside the transaction, again where Postgres asks for that (a deadlock). */
  work(mutation: Mutation, prepared: Prepared): Promise<Answer>;
}

/** Runs one change for one request: a single transaction with its audit row, once per Idempotency-Key. */
export type Mutate = <Prepared>(
  request: FastifyRequest,
  reply: FastifyReply,
  change: ((mutation: Mutation) => Promise<Answer>) | PreparedChange<Prepared>,
) => Promise<FastifyReply>;

const KEY_PATTERN = /^[\x21-\x7e]{1,255}$/;
interface Stored {
  status: number;
  body: string;
  location: string | null;
}

/** @param former opens what replicas of earlier versions encrypt: under the signing key. */
export function createMutate(db: Database, encryption: Encryption, former: Encryption): Mutate {
  return async (request, reply, change) => {
    const principal = principalOf(request);
    const key = idempotencyKey(request);
    const checkMode = takeCheckMode(request);
    const earlier = key === null || typeof change === 'function' ? undefined : await findKey(db, principal, key);
    if (earlier !== undefined) return send(reply, answerOf(earlier, plainHash(request), { encryption, former }));
    const prepared = typeof change === 'function' ? undefined : await change.prepare();
    const work = (mutation: Mutation) =>
      typeof change === 'function'
        ? change(mutation)
        : change.work(mutation, prepared as Parameters<typeof change.work>[1]);

    /** One transaction: the key, the work, its lines of the audit log. */
    const run = async (carryOut: (mutation: Mutation) => Promise<Answer>, dry: boolean) => {
      const afterCommit: (() => void)[] = [];
      const done = await db.transaction().execute(async (tx) => {
        if (key !== null) {
          const earlier = await claimKey(tx, principal, key, plainHash(request), { encryption, former });
          if (earlier !== null) return { stored: earlier, later: undefined };
        }
        const entries: AuditEntry[] = [];
        const answer = await carryOut({
          tx,
          principal,
          parentId: null,
          checkMode: dry,
          audit: (entry) => entries.push(entry),
          afterCommit: (callback) => afterCommit.push(callback),
        });
        if (dry) throw new CheckedOnly(async () => ({ ...answer, ...CHECK_ANSWER }));
        await insertAudits(tx, request, principal.label, 'allowed', entries);
        const fresh: Stored = {
          status: answer.status ?? 200,
          body: typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body),
          location: answer.location ?? null,
        };
        if (key !== null) await storeAnswer(tx, principal, key, fresh, answer.secret === true ? encryption : null);
        return { stored: fresh, later: answer.afterCommitAnswer };
      });
      for (const callback of afterCommit) callback();
      return done;
    };

    const { stored, later } = await retryingConflicts(async () => {
      try {
        return await run(work, checkMode);
      } catch (error) {
        if (error instanceof CheckedOnly) return run(error.record, false);
        throw error;
      }
    });
    if (later !== undefined) {
      try {
        stored.body = await later();
        if (key !== null) await storeAnswer(db, principal, key, stored, null);
      } catch (error) {
        request.log.warn(
          { err: error },
          'the state after the commit is unknown; responding with the state at the commit',
        );
      }
    }
    return send(reply, stored);
  };
}

/**
 * A change that no request asks for, in one transaction with its lines of the audit log; again where Postgres asks for
 * that. What `work` asks for after the commit is done then.
 * @param parentId the operation on whose behalf it is made; null: none.
 */
export async function mutateUnasked<T>(
  db: Database,
  principal: Principal,
  parentId: string | null,
  work: (mutation: Mutation) => Promise<T>,
): Promise<T> {
  return retryingConflicts(async () => {
    const later: (() => void)[] = [];
    const made = await db.transaction().execute(async (tx) => {
      const entries: AuditEntry[] = [];
      const result = await work({
        tx,
        principal,
        parentId,
        checkMode: false,
        audit: (entry) => entries.push(entry),
        afterCommit: (callback) => later.push(callback),
      });
      await insertAudits(tx, UNASKED, principal.label, 'allowed', entries);
      return result;
    });
    for (const callback of later) callback();
    return made;
  });
}

/** What was only checked has no place and no later state. */
const CHECK_ANSWER = { location: undefined, afterCommitAnswer: undefined } as const;

function send(reply: FastifyReply, { status, body, location }: Stored): FastifyReply {
  if (location !== null) reply.header('location', location);
  reply.status(status);
  return body === '' ? reply.send() : reply.type('application/json; charset=utf-8').send(body);
}

/** Where a change came from: a request, or (both null) the server itself on somebody's behalf. */
export interface AuditOrigin {
  ip: string | null;
  id: string | null;
}

/** Of what the server does on somebody's behalf. */
export const UNASKED: AuditOrigin = { ip: null, id: null };

/** Writes a row of the audit log. `principal` is the label of who did it, or what they called themselves. */
export function insertAudit(
  db: Queryable,
  origin: AuditOrigin,
  principal: string,
  outcome: 'allowed' | 'denied' | 'failed',
  entry: AuditEntry,
): Promise<void> {
  return insertAudits(db, origin, principal, outcome, [entry]);
}

/** Writes rows of the audit log in one statement. */
async function insertAudits(
  db: Queryable,
  origin: AuditOrigin,
  principal: string,
  outcome: 'allowed' | 'denied' | 'failed',
  entries: readonly AuditEntry[],
): Promise<void> {
  if (entries.length === 0) return;
  await db
    .insertInto('provisioning.audit_log')
    .values(
      entries.map((entry) => ({
        id: uuidv7(),
        principal,
        action: entry.action,
        workspace: entry.workspace ?? null,
        resource: entry.resource ?? null,
        outcome,
        address: origin.ip,
        request_id: origin.id,
        operation_id: entry.operationId ?? null,
        details: entry.details === undefined ? null : JSON.stringify(entry.details),
        position: null,
        hash: null,
      })),
    )
    .execute();
}

function idempotencyKey(request: FastifyRequest): string | null {
  const header = request.headers['idempotency-key'];
  if (header === undefined) return null;
  if (typeof header !== 'string' || !KEY_PATTERN.test(header)) {
    throw errors.validation([{ field: 'Idempotency-Key', message: 'must be 1 to 255 visible ASCII characters' }]);
  }
  return header;
}

/** What makes two requests the same, method, path, query and body, as one hash. A body may hold a password: it is not stored. */
function plainHash(request: FastifyRequest): Buffer {
  return createHash('sha256')
    .update(`${request.method} ${request.url}\n${isChecked(request) ? 'check\n' : ''}`)
    .update(canonicalJson(request.body ?? null))
    .digest();
}

/** JSON with sorted keys, so that the order of fields makes no difference. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

/**
 * Makes the key ours, waiting for another request that holds it.
 * @returns the earlier answer where the same request was made before.
 */
async function claimKey(
  tx: Queryable,
  principal: Principal,
  key: string,
  hash: Buffer,
  keys: Keys,
): Promise<Stored | null> {
  const owner = principal.tokenId ?? principal.userId;
  const claimed = await tx
    .insertInto('provisioning.idempotency_keys')
    .values({
      principal: owner,
      key,
      request_hash: requestDigest(keys.encryption, hash),
      request_keyed: true,
      response_status: null,
      response_body: null,
      response_location: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('key')
    .executeTakeFirst();
  if (claimed !== undefined) return null;
  const earlier = await findKey(tx, principal, key);
  // Another request rolled back between our two statements: let the caller try again.
  if (earlier === undefined)
    throw errors.unavailable('Another request with this Idempotency-Key has just failed. Send the request again.', 1);
  return answerOf(earlier, hash, keys);
}

type KeyRow = Selectable<Tables['provisioning.idempotency_keys']>;

async function findKey(db: Queryable, principal: Principal, key: string): Promise<KeyRow | undefined> {
  return db
    .selectFrom('provisioning.idempotency_keys')
    .selectAll()
    .where('principal', '=', principal.tokenId ?? principal.userId)
    .where('key', '=', key)
    .executeTakeFirst();
}

/** What opens kept answers: those of this version, and those that replicas of earlier ones still make. */
interface Keys {
  encryption: Encryption;
  former: Encryption;
}

/** @throws 409 where the key stands for another request, or the answer can no longer be read. */
function answerOf(row: KeyRow, hash: Buffer, { encryption, former }: Keys): Stored {
  if (!row.request_hash.equals(row.request_keyed ? requestDigest(encryption, hash) : hash)) {
    throw errors.idempotencyConflict();
  }
  if (row.response_status === null) throw errors.internal();
  const body = row.response_body;
  const opened =
    body === null || !row.response_sealed
      ? body
      : row.request_keyed
        ? encryption.decrypt(body, KEPT_ANSWER)
        : openFormer(former, body);
  if (opened === null) throw errors.answerLost(row.response_location);
  return {
    status: row.response_status,
    body: opened,
    location: row.response_location,
  };
}

async function storeAnswer(
  tx: Queryable,
  principal: Principal,
  key: string,
  answer: Stored,
  encryption: Encryption | null,
): Promise<void> {
  await tx
    .updateTable('provisioning.idempotency_keys')
    .set({
      response_status: answer.status,
      response_body: encryption === null ? answer.body : encryption.encrypt(answer.body, KEPT_ANSWER),
      response_sealed: encryption !== null,
      response_location: answer.location,
    })
    .where('principal', '=', principal.tokenId ?? principal.userId)
    .where('key', '=', key)
    .execute();
}
