import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type RawBuilder, sql } from 'kysely';
import { type TProperties, type TSchema, Type } from 'typebox';
import type { Database } from '../database/pool.ts';
import { errors } from '../errors.ts';
import type { Limits } from '../limits/limits.ts';
import { principalOf, sendJson } from './context.ts';

declare module 'fastify' {
  interface FastifyInstance {
    limits: Pick<Limits, 'open'>;
  }
}

/** Rows in one page at most. */
const MAX_PER_PAGE = 1_000;
const DEFAULT_PER_PAGE = 100;
/** A total past this is given as this, with `X-Total-Count-Capped: true`: counting must not cost more than the page. */
const COUNT_CAP = 10_000;
/** Rows fetched at a time when a whole list is sent. */
const STREAM_BATCH = 2_000;

/** How a section's list is read. */
export interface ListDefinition {
  /** Table with schema. */
  table: string;
  /** One row as JSON text. */
  json: RawBuilder<string>;
  /** Column that ends every order, unique. */
  id: string;
  /** Postgres type of `id`, for comparing. */
  idType: 'text' | 'uuid';
  /** Query parameter → its schema and condition. */
  filters: Record<string, { schema: TSchema; condition: (value: never) => RawBuilder<boolean> }>;
  /** What `sort` may name: column and its Postgres type. */
  sorts: Record<string, { column: string; type: 'timestamptz' | 'text' }>;
  defaultSort: string;
}

/** Declares a filter with the type of its schema. */
export function filter<T>(schema: TSchema, condition: (value: T) => RawBuilder<boolean>) {
  return { schema, condition: condition as (value: never) => RawBuilder<boolean> };
}

/** The querystring schema of a list: its filters and the paging that all lists share. */
export function listQuerySchema(definition: ListDefinition) {
  const properties: TProperties = {
    page: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Page number, from 1.' })),
    per_page: Type.Optional(
      Type.Integer({ minimum: 1, maximum: MAX_PER_PAGE, description: 'Rows per page. Default 100.' }),
    ),
    cursor: Type.Optional(
      Type.String({
        maxLength: 1_024,
        description: 'Cursor from a Link header. Empty: first page; "last": last page. Every page costs the same.',
      }),
    ),
    sort: Type.Optional(
      Type.Enum(
        Object.keys(definition.sorts).flatMap((name) => [name, `-${name}`]),
        { description: 'Field to sort by, "-" for descending.' },
      ),
    ),
  };
  for (const [name, { schema }] of Object.entries(definition.filters)) properties[name] = Type.Optional(schema);
  return Type.Object(properties, { additionalProperties: false });
}

interface Order {
  column: RawBuilder<unknown>;
  type: RawBuilder<unknown>;
  descending: boolean;
}

interface Cursor {
  /** Rows after the position, or before it. */
  direction: 'after' | 'before';
  value: string;
  id: string;
}

interface Page {
  text: string;
  rows: number;
  first: [string, string] | null;
  last: [string, string] | null;
}

/**
 * Answers a list request: the whole list as one array (streamed; of long ones a user has only so many at once), or a
 * page by number or cursor with Link headers.
 * @param scope further conditions, such as the workspaces the caller may see.
 * @throws 429 where the caller is being sent too many long lists.
 */
export async function sendList(
  db: Database,
  definition: ListDefinition,
  request: FastifyRequest,
  reply: FastifyReply,
  scope: RawBuilder<boolean>[],
): Promise<FastifyReply> {
  const query = request.query as Record<string, unknown>;
  const order = orderOf(definition, query.sort as string | undefined);
  const conditions = [...scope];
  for (const [name, { condition }] of Object.entries(definition.filters)) {
    if (query[name] !== undefined) conditions.push(condition(query[name] as never));
  }
  const perPage = (query.per_page as number | undefined) ?? DEFAULT_PER_PAGE;
  const reader = { db, definition, order, conditions };

  if (query.cursor !== undefined) return sendCursorPage(reader, request, reply, query.cursor as string, perPage);
  if (query.page !== undefined || query.per_page !== undefined) {
    return sendNumberedPage(reader, request, reply, (query.page as number | undefined) ?? 1, perPage);
  }
  const first = await readPage(reader, { limit: STREAM_BATCH });
  if (first.rows < STREAM_BATCH) return sendJson(reply, `[${first.text}]`);
  // Whoever takes a long list slowly holds what is read for it.
  const close = await request.server.limits.open('whole_lists', principalOf(request).userId);
  // Whoever left meanwhile closed it already, and that is told only once.
  if (reply.raw.closed) close();
  else reply.raw.once('close', close);
  return reply.type('application/json; charset=utf-8').send(Readable.from(wholeList(reader, first)));
}

interface Reader {
  db: Database;
  definition: ListDefinition;
  order: Order;
  conditions: RawBuilder<boolean>[];
}

async function* wholeList(reader: Reader, first: Page): AsyncGenerator<string> {
  yield `[${first.text}`;
  let page = first;
  while (page.rows === STREAM_BATCH && page.last !== null) {
    page = await readPage(reader, {
      limit: STREAM_BATCH,
      cursor: { direction: 'after', value: page.last[0], id: page.last[1] },
    });
    if (page.rows > 0) yield `,${page.text}`;
  }
  yield ']';
}

async function sendNumberedPage(
  reader: Reader,
  request: FastifyRequest,
  reply: FastifyReply,
  page: number,
  perPage: number,
) {
  const [rows, total] = await Promise.all([
    readPage(reader, { limit: perPage, offset: (page - 1) * perPage }),
    countRows(reader),
  ]);
  setTotal(reply, total);
  const links: [string, Record<string, string>][] = [['first', { page: '1' }]];
  if (page > 1) links.push(['prev', { page: String(page - 1) }]);
  if (rows.rows === perPage && page * perPage < total) links.push(['next', { page: String(page + 1) }]);
  else if (rows.rows === perPage && total === COUNT_CAP) links.push(['next', { page: String(page + 1) }]);
  if (total < COUNT_CAP) links.push(['last', { page: String(Math.max(1, Math.ceil(total / perPage))) }]);
  reply.header('link', linkHeader(request, links, perPage));
  return sendJson(reply, `[${rows.text}]`);
}

async function sendCursorPage(
  reader: Reader,
  request: FastifyRequest,
  reply: FastifyReply,
  text: string,
  perPage: number,
) {
  const cursor = parseCursor(text);
  const backwards = cursor === 'last' || (cursor !== null && cursor.direction === 'before');
  const page = await readPage(reader, {
    limit: perPage,
    backwards,
    ...(cursor === null || cursor === 'last' ? {} : { cursor }),
  });
  if (text === '') setTotal(reply, await countRows(reader));
  const full = page.rows === perPage;
  const links: [string, Record<string, string>][] = [['first', { cursor: '' }]];
  if (page.first !== null && cursor !== null && (full || !backwards))
    links.push(['prev', { cursor: cursorText('before', page.first) }]);
  if (page.last !== null && cursor !== 'last' && (full || backwards))
    links.push(['next', { cursor: cursorText('after', page.last) }]);
  links.push(['last', { cursor: 'last' }]);
  reply.header('link', linkHeader(request, links, perPage));
  return sendJson(reply, `[${page.text}]`);
}

function orderOf(definition: ListDefinition, sort = definition.defaultSort): Order {
  const descending = sort.startsWith('-');
  const name = descending ? sort.slice(1) : sort;
  const chosen = definition.sorts[name];
  if (chosen === undefined)
    throw errors.validation([
      { field: 'sort', message: 'is not a field to sort by', near_matches: Object.keys(definition.sorts) },
    ]);
  return { column: sql.ref(chosen.column), type: sql.raw(chosen.type), descending };
}

/**
 * One page in the asked order, read backwards from its end where that is nearer. Its rows are chosen before anything is
 * made of them: those that an offset skips cost a step in the index each, and no more.
 */
async function readPage(
  { db, definition, order, conditions }: Reader,
  page: { limit: number; offset?: number; cursor?: Cursor; backwards?: boolean },
): Promise<Page> {
  const id = sql.ref(definition.id);
  const idType = sql.raw(definition.idType);
  const down = order.descending !== (page.backwards === true);
  const direction = sql.raw(down ? 'desc' : 'asc');
  const all = [...conditions];
  if (page.cursor !== undefined) {
    const compare = sql.raw(down ? '<' : '>');
    all.push(
      sql`(${order.column}, ${id}) ${compare} (${page.cursor.value}::${order.type}, ${page.cursor.id}::${idType})`,
    );
  }
  const where = all.length === 0 ? sql`` : sql`where ${sql.join(all, sql` and `)}`;
  const { rows } = await sql<{
    text: string | null;
    rows: number;
    first: [string, string] | null;
    last: [string, string] | null;
  }>`
    with page as (
      select ${definition.json} as json, ${order.column}::text as value, ${id}::text as id,
             row_number() over (order by ${order.column} ${direction}, ${id} ${direction}) as n
      from (
        select * from ${sql.table(definition.table)} ${where}
        order by ${order.column} ${direction}, ${id} ${direction}
        limit ${page.limit} offset ${page.offset ?? 0}) ${sql.ref(bareName(definition.table))})
    select string_agg(json, ',' order by ${page.backwards === true ? sql`-n` : sql`n`}) as text, count(*)::int as rows,
           (array_agg(array[value, id] order by n))[1:1][1:2] as first,
           (array_agg(array[value, id] order by n desc))[1:1][1:2] as last
    from page`.execute(db);
  const row = rows[0];
  if (row === undefined) return { text: '', rows: 0, first: null, last: null };
  const near = pair(row.first);
  const far = pair(row.last);
  return {
    text: row.text ?? '',
    rows: row.rows,
    first: page.backwards === true ? far : near,
    last: page.backwards === true ? near : far,
  };
}

/** The rows keep the table's name, by which what makes JSON of them may call them. */
function bareName(table: string): string {
  return table.slice(table.lastIndexOf('.') + 1);
}

/** The slice of an array of pairs comes back as `[[value, id]]`. */
function pair(value: unknown): [string, string] | null {
  const inner: unknown = Array.isArray(value) ? value[0] : null;
  return Array.isArray(inner) && typeof inner[0] === 'string' && typeof inner[1] === 'string'
    ? [inner[0], inner[1]]
    : null;
}

async function countRows({ db, definition, conditions }: Reader): Promise<number> {
  const where = conditions.length === 0 ? sql`` : sql`where ${sql.join(conditions, sql` and `)}`;
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from (select 1 from ${sql.table(definition.table)} ${where} limit ${COUNT_CAP}) t`.execute(
    db,
  );
  return rows[0]?.total ?? 0;
}

function setTotal(reply: FastifyReply, total: number): void {
  reply.header('x-total-count', String(total));
  if (total === COUNT_CAP) reply.header('x-total-count-capped', 'true');
}

function linkHeader(request: FastifyRequest, links: [string, Record<string, string>][], perPage: number): string {
  const base = new URL(request.url, 'http://localhost');
  return links
    .map(([relation, parameters]) => {
      const url = new URL(base);
      url.searchParams.set('per_page', String(perPage));
      for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
      return `<${url.pathname}${url.search}>; rel="${relation}"`;
    })
    .join(', ');
}

function cursorText(direction: Cursor['direction'], [value, id]: [string, string]): string {
  return Buffer.from(JSON.stringify([direction, value, id])).toString('base64url');
}

function parseCursor(text: string): Cursor | 'last' | null {
  if (text === '') return null;
  if (text === 'last') return 'last';
  try {
    const [direction, value, id] = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as unknown[];
    const ok = (direction === 'after' || direction === 'before') && typeof value === 'string' && typeof id === 'string';
    if (ok && !`${value}${id}`.includes('\u0000')) return { direction, value, id };
  } catch {
    // Not one of ours: said below.
  }
  throw errors.validation([{ field: 'cursor', message: 'is not a cursor from a Link header' }]);
}
