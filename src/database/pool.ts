import { CompiledQuery, Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import { isDiskRefusal } from './disk.ts';
import { BEGUN, beginName, FirstStatement, isBegin } from './first-statement.ts';
import type { Tables } from './tables.ts';
import { uuidv7 } from './uuid.ts';

/** The application's handle on the database: query builder and transactions over one pool. */
export type Database = Kysely<Tables>;
/** What a store function takes: the database itself, or a transaction of the caller's. */
export type Queryable = Kysely<Tables> | Transaction<Tables>;

/** Where a Postgres is: a URL, or the parts (`host` may be a socket directory). */
export type ConnectionSettings =
  | { connectionString: string }
  | { host: string; port: number; user: string; password: string; database: string };

/** Ends the application name of every session of this process, so that others can find them when it has stalled. */
export const PROCESS_TAG = uuidv7().slice(-8);

/** Statements kept prepared in a connection. The application has a few hundred; texts past that go unprepared. */
const MAX_PREPARED_STATEMENTS = 500;
const statementNames = new Map<string, string>();

function statementName(text: string): string | undefined {
  const known = statementNames.get(text);
  if (known !== undefined) return known;
  if (statementNames.size >= MAX_PREPARED_STATEMENTS) return undefined;
  const name = `s${statementNames.size}`;
  statementNames.set(text, name);
  return name;
}

/** Errors that pass, but that the engine's library takes for final; it knows ECONNRESET. */
const LIKE_A_RESET = new Set([
  // what a unix socket gives while Postgres is down
  'ENOENT',
  'EPIPE',
  // a name server that is away as well
  'ENOTFOUND',
  // read-only for now: a standby, just before it is promoted
  '25006',
]);

/**
 * The engine tries again after ECONNRESET and would strand its work on the others
 * (docs/decisions/0003-durable-engine.md).
 */
function asConnectionReset(error: unknown): unknown {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && LIKE_A_RESET.has(error.code)) {
    error.code = 'ECONNRESET';
  }
  return error;
}

/** What happens to a connection that runs no statement when the database goes away. The next statement reports it. */
function ignoreIdleError(): void {}

/**
 * A pg client that prepares every parameterised statement once (planning was 60 % of Postgres' time without it), and sends
 * BEGIN with the statement after it.
 */
class PreparingClient extends pg.Client {
  /** A BEGIN that waits for its first statement. */
  #begin: string | null = null;
  /** Those that this connection has prepared. */
  readonly #prepared = new Set<string>();

  constructor(config?: string | pg.ClientConfig) {
    super(config);
    // The connection may break while it is checked out and between two statements (inside a transaction, say). Without a
    // listener that would end the process; the next statement on this connection reports it.
    this.on('error', ignoreIdleError);
  }

  // The two overrides narrow pg's overloads to how pools, Kysely and the engine call them.
  // biome-ignore lint/suspicious/noExplicitAny: pg types `connect` as overloads that a subclass cannot restate
  override connect(callback?: any): any {
    if (callback !== undefined) {
      return super.connect((error: Error) => callback(asConnectionReset(error)));
    }
    return super.connect().catch((error: unknown) => {
      throw asConnectionReset(error);
    });
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above
  override query(...args: any[]): any {
    const [text, values] = args;
    if (typeof args.at(-1) !== 'function') {
      if (isBegin(text)) {
        this.#begin = text;
        return Promise.resolve(BEGUN);
      }
      if (this.#begin !== null) return this.#beginWith(this.#begin, args);
    }
    if (typeof text === 'string' && Array.isArray(values) && values.length > 0) {
      const name = statementName(text);
      if (name !== undefined) args.splice(0, 2, { name, text, values });
    }
    const callback = args.at(-1);
    if (typeof callback === 'function') {
      args.splice(-1, 1, (error: unknown, ...rest: unknown[]) => callback(asConnectionReset(error), ...rest));
    }
    const result = super.query(...(args as [string]));
    if (result instanceof Promise) {
      return result.catch((error: unknown) => {
        throw asConnectionReset(error);
      });
    }
    return result;
  }

  /** BEGIN, and the statement after it. */
  async #beginWith(begin: string, args: unknown[]): Promise<unknown> {
    this.#begin = null;
    const [text, values] = args;
    const name = beginName(begin);
    const together =
      this.#prepared.has(begin) && typeof text === 'string' && Array.isArray(values) && values.length > 0;
    if (!together) {
      await this.query({ name, text: begin });
      this.#prepared.add(begin);
      return this.query(...args);
    }
    const { promise, resolve, reject } = Promise.withResolvers<pg.QueryResult>();
    const config = { name: statementName(text), text, values };
    super.query(
      new FirstStatement(name, config, (error, result) =>
        error === null ? resolve(result) : reject(asConnectionReset(error)),
      ),
    );
    return promise;
  }
}

/** As pg_stat_activity shows it: at most 63 bytes. */
function taggedName(applicationName: string): string {
  return `${applicationName} ${PROCESS_TAG}`;
}

/** @param max connections at most. */
export function createPool(settings: ConnectionSettings, options: { max: number; applicationName: string }): pg.Pool {
  const pool = new pg.Pool({
    ...settings,
    max: options.max,
    application_name: taggedName(options.applicationName),
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    Client: PreparingClient,
  });
  pool.on('error', ignoreIdleError);
  return pool;
}

/** A connection of its own, for LISTEN and session locks. */
export function createClient(settings: ConnectionSettings, applicationName: string): pg.Client {
  return new PreparingClient({
    ...settings,
    application_name: taggedName(applicationName),
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
}

export function createDatabase(pool: pg.Pool): Database {
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
}

/**
 * The query builder on a connection whose transaction somebody else began and will end (the engine's
 * transactional step).
 */
export function onConnection(client: pg.ClientBase): Queryable {
  const connection = { query: client.query.bind(client), release: () => {} };
  return new Kysely<Tables>({
    dialect: new PostgresDialect({
      pool: { connect: async () => connection as unknown as pg.PoolClient, end: async () => {} },
    }),
  });
}

/** A pg-shaped `query` over a Kysely transaction, for libraries that want to write in it. */
export function asPgClient(tx: Queryable): Pick<pg.ClientBase, 'query'> {
  const query = async (text: string, values: unknown[] = []) => {
    const { rows, numAffectedRows } = await tx.executeQuery(CompiledQuery.raw(text, values));
    return { rows, rowCount: numAffectedRows === undefined ? rows.length : Number(numAffectedRows) };
  };
  return { query } as unknown as Pick<pg.ClientBase, 'query'>;
}

/** Postgres' error class 08 (connection), 57P (shutdown), 53 (resources), and what the socket says. */
const UNAVAILABLE_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  '08000',
  '08001',
  '08003',
  '08004',
  '08006',
  '57P01',
  '57P02',
  '57P03',
  '53100',
  '53200',
  '53300',
  // a standby, or a server in recovery
  '25006',
]);

/** Whether the error means that the database is away for now (as opposed to a wrong statement). */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof AggregateError && error.errors.some(isDatabaseUnavailable)) return true;
  if ('code' in error && typeof error.code === 'string' && UNAVAILABLE_CODES.has(error.code)) return true;
  if (isDiskRefusal(error)) return true;
  return /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error/.test(
    error.message,
  );
}

/** Whether the error is a violation of the named unique index or constraint. */
export function isUniqueViolation(error: unknown, constraint: string): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    error.code === '23505' &&
    'constraint' in error &&
    error.constraint === constraint
  );
}
