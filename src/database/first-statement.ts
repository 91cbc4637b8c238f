/**
 * BEGIN sent together with the first statement of its transaction: one round trip less for each transaction. Both stand
 * before one Sync, so that Postgres skips the statement where BEGIN fails: it never runs outside its transaction.
 */
import pg from 'pg';

/** What begins a transaction in Kysely and in the engine's library. */
const BEGINNINGS = new Set(['begin', 'BEGIN', 'BEGIN ISOLATION LEVEL READ COMMITTED']);

export function isBegin(text: unknown): text is string {
  return typeof text === 'string' && BEGINNINGS.has(text);
}

/** What pg answers to BEGIN. */
export const BEGUN = { command: 'BEGIN', rowCount: null, rows: [], fields: [], oid: 0 };

/** The name under which a connection prepares this BEGIN. */
export function beginName(begin: string): string {
  return `begin ${begin}`;
}

/** The parts of pg's connection and query that are not in its types. */
interface Connection {
  bind(message: { portal: string; statement: string; values: unknown[] }): void;
  execute(message: { portal: string; rows: number }): void;
}
type Callback = (error: Error | null, result: pg.QueryResult) => void;
interface QueryInside {
  prepare(connection: Connection): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
}
const Query = pg.Query as unknown as new (
  config: pg.QueryConfig & { callback: Callback },
) => pg.Submittable & QueryInside;

/** A statement with parameters and the BEGIN before it, which the connection must have prepared. */
export class FirstStatement extends Query {
  readonly #begin: string;
  #begun = false;

  /** @param begin the name of the prepared BEGIN. */
  constructor(begin: string, config: pg.QueryConfig, callback: Callback) {
    super({ ...config, callback });
    this.#begin = begin;
  }

  override prepare(connection: Connection): void {
    connection.bind({ portal: '', statement: this.#begin, values: [] });
    connection.execute({ portal: '', rows: 0 });
    super.prepare(connection);
  }

  override handleCommandComplete(message: unknown, connection: Connection): void {
    if (this.#begun) super.handleCommandComplete(message, connection);
    else this.#begun = true;
  }
}
