/** The server's own description of its endpoints, for tests that walk all of them. */
import assert from 'node:assert/strict';
import { Ajv, type ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import { expectOk } from './acceptance.ts';
import type { Answer, Client } from './server.ts';

/** What `/openapi.json` says of one endpoint. */
export interface Endpoint {
  method: string;
  /** `/v1/servers/{id}` */
  path: string;
  access: 'public' | 'authenticated' | 'permission';
  permission: string | null;
  parameters: Parameter[];
  /** JSON schema of the body, null where it takes none. */
  body: Schema | null;
  /** JSON schema of each answer by its status, null where that is no JSON. */
  answers: Map<number, Schema | null>;
}

export interface Parameter {
  name: string;
  in: string;
  schema: Schema;
}

export interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  pattern?: string;
  format?: string;
  minProperties?: number;
  minItems?: number;
  $ref?: string;
}

const FORMATS: Record<string, string> = {
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
  uuid: '01890000-0000-7000-8000-000000000000',
  'date-time': '2025-10-06T12:00:00Z',
  date: '2025-10-06',
};

/** The smallest value that the schema takes, whatever its words may mean. */
export function sampleOf(schema: Schema): unknown {
  const { anyOf = schema.oneOf ?? [], enum: words = [], items = {}, properties = {}, required = [] } = schema;
  if (schema.const !== undefined) return schema.const;
  if (words.length > 0) return words[0];
  if (anyOf[0] !== undefined) return sampleOf(anyOf[0]);
  const type = [schema.type].flat()[0];
  const ofFormat = FORMATS[schema.format ?? ''];
  if (ofFormat !== undefined) return ofFormat;
  if (type === 'string') return 'sample'.repeat(3).slice(0, schema.maxLength);
  if (type === 'integer' || type === 'number') return schema.minimum ?? 1;
  if (type === 'boolean') return false;
  if (type === 'array') return (schema.minItems ?? 0) > 0 ? [sampleOf(items)] : [];
  const names = required.length > 0 ? required : Object.keys(properties).slice(0, schema.minProperties ?? 0);
  return Object.fromEntries(names.map((name) => [name, sampleOf(properties[name] ?? {})]));
}

interface Description {
  components?: { schemas?: Record<string, Schema> };
  paths: Record<string, Record<string, OperationDescription>>;
}

interface OperationDescription {
  security?: unknown[];
  'x-permission'?: string;
  parameters?: Parameter[];
  requestBody?: { content?: Content };
  responses: Record<string, { content?: Content }>;
}

type Content = Record<string, { schema?: Schema }>;

/** Every endpoint that the server describes. */
export async function readEndpoints(client: Client): Promise<Endpoint[]> {
  const { paths, components = {} } = expectOk(await client.request<Description>('GET', '/openapi.json'));
  const resolve = (schema: Schema): Schema => withoutReferences(schema, components.schemas ?? {});
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, description]): Endpoint => {
      const permission = description['x-permission'] ?? null;
      const open = description.security?.length === 0;
      const body = description.requestBody?.content?.['application/json']?.schema;
      return {
        method: method.toUpperCase(),
        path,
        access: open ? 'public' : permission === null ? 'authenticated' : 'permission',
        permission,
        parameters: (description.parameters ?? []).map((each) => ({ ...each, schema: resolve(each.schema) })),
        body: body === undefined ? null : resolve(body),
        answers: new Map(
          Object.entries(description.responses).map(([status, { content }]) => {
            const schema = content?.['application/json']?.schema;
            return [Number(status), schema === undefined ? null : resolve(schema)];
          }),
        ),
      };
    }),
  );
}

const ajv = new Ajv({ strict: false, allErrors: true });
formats.default(ajv);
const compiled = new WeakMap<Schema, ValidateFunction>();

/** Asserts that the description tells of this answer: its status, and the form of its body. */
export function assertDescribed({ method, path, answers }: Endpoint, { status, body, headers }: Answer): void {
  const what = `${method} ${path} answers ${status}: ${JSON.stringify(body).slice(0, 500)}`;
  assert.ok(answers.has(status), `${what}; described are ${[...answers.keys()]}`);
  const schema = answers.get(status) ?? null;
  if (schema === null || headers.get('content-type')?.startsWith('application/json') !== true) return;
  const validate = compiled.get(schema) ?? ajv.compile(schema);
  compiled.set(schema, validate);
  assert.ok(validate(body), `${what}; ${ajv.errorsText(validate.errors)}`);
}

function withoutReferences<T>(value: T, named: Record<string, Schema>): T {
  if (Array.isArray(value)) return value.map((item) => withoutReferences(item, named)) as T;
  if (typeof value !== 'object' || value === null) return value;
  const name = '$ref' in value && typeof value.$ref === 'string' ? value.$ref.split('/').at(-1) : undefined;
  if (name !== undefined) return withoutReferences(named[name], named) as T;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, withoutReferences(child, named)])) as T;
}
