/** What a tool is: data, from which the server for assistants makes what it offers. */
import { type Static, type TObject, type TSchema, Type } from 'typebox';
import type { Client, Operation } from '../sdk/client.ts';

/** What an assistant is told of a tool's effects, so that it can ask before it uses it. */
interface Effect {
  /** Changes nothing. */
  readOnly?: boolean;
  /** Takes something away, or interrupts it. */
  destructive?: boolean;
  /** A second call with the same arguments changes nothing further. */
  idempotent?: boolean;
}

export interface Tool {
  name: string;
  title: string;
  description: string;
  /** The request of the API that it makes: `POST /v1/servers/create`. */
  covers: string;
  /** What the caller must hold somewhere for it to be listed: that request's permission. */
  permission: string;
  effect: Effect;
  input: TObject;
  /** The fields of its answer. */
  output: TObject;
  run(client: Client, input: Record<string, unknown>): Promise<Record<string, unknown>>;
}

/** Declares a tool; `run` gets its input as the schema has it, which has been held against it. */
export function tool<I extends TObject>(
  definition: Omit<Tool, 'input' | 'run'> & {
    input: I;
    run(client: Client, input: Static<I>): Promise<Record<string, unknown>>;
  },
): Tool {
  return { ...definition, run: (client, input) => definition.run(client, input as Static<I>) };
}

const closed = { additionalProperties: false } as const;

/** The input of a tool: these fields and no others. */
export function input<P extends Record<string, TSchema>>(properties: P) {
  return Type.Object(properties, closed);
}

/** Any record of the API, as it is. */
const AnyRecord = Type.Record(Type.String(), Type.Unknown());
const cut = Type.Optional(
  Type.Boolean({ description: 'Long texts or lists in this answer were cut short. Ask for less at a time.' }),
);

/** An answer that holds one record under this name. */
export function one(name: string) {
  return Type.Object({ [name]: AnyRecord, cut });
}

/** An answer that holds records under this name. */
export function many(name: string) {
  return Type.Object({
    [name]: Type.Array(AnyRecord),
    total: Type.Optional(Type.Integer({ description: 'Of the whole list.' })),
    next_cursor: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'Of the next page.' })),
    cut,
  });
}

export const text = (description: string, maxLength = 253) => Type.String({ minLength: 1, maxLength, description });
export const optional = (description: string, maxLength = 253) => Type.Optional(text(description, maxLength));

/** Fields of every tool that makes something. */
export const once = {
  idempotency_key: Type.Optional(
    Type.String({
      pattern: '^[\\x21-\\x7e]{1,255}$',
      description: 'Any text of your choice: the same call with the same key happens once, however often it is made.',
    }),
  ),
};

/** The key as the client takes it. */
export function keyOf({ idempotency_key: key }: { idempotency_key?: string }): { idempotencyKey?: string } {
  return key === undefined ? {} : { idempotencyKey: key };
}

/** Seconds that an answer waits for the end of what takes a moment. */
const SOON = 30;

/** An operation that only looks, once it has ended, or as it stands after a while. */
export function soon(client: Client, { id }: { id: string }): Promise<Operation> {
  return client.post('/v1/operations/{id}/wait', { path: { id }, query: { timeout: SOON } });
}

/** Rows of one page, and how many it has where nothing else is asked for. */
const MAX_ROWS = 100;
const DEFAULT_ROWS = 25;

type ListPath = Parameters<Client['page']>[0];

/** A tool that shows a page of a list. */
export function listTool(definition: {
  name: string;
  title: string;
  description: string;
  permission: string;
  path: ListPath;
  /** Name of the records in the answer. */
  rows: string;
  /** Query parameter → what it filters by. */
  filters: Record<string, string>;
}): Tool {
  const { path, rows, filters, ...rest } = definition;
  const fields: Record<string, TSchema> = {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_ROWS, default: DEFAULT_ROWS })),
    cursor: optional('`next_cursor` of the page before', 1_024),
  };
  for (const [name, description] of Object.entries(filters)) fields[name] = optional(description);
  return {
    ...rest,
    covers: `GET ${path}`,
    effect: { readOnly: true },
    input: input(fields),
    output: many(rows),
    async run(client, { limit, cursor, ...wanted }) {
      const page = await client.page(path, {
        // Held against the schema above, whose filters the list knows.
        filters: wanted as never,
        cursor: typeof cursor === 'string' ? cursor : '',
        perPage: typeof limit === 'number' ? limit : DEFAULT_ROWS,
      });
      return { [rows]: page.rows, total: page.total, next_cursor: page.next };
    },
  };
}
