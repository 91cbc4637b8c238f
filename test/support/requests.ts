/** Requests for any endpoint, good, nearly good and bad ones, made from what the OpenAPI document says of it. */
import fc from 'fast-check';
import type { Endpoint, Parameter, Schema } from './openapi.ts';
import type { RawRequest } from './raw.ts';

/** Things that exist, by the name of the field or parameter that takes them. */
export type Existing = Record<string, string[]>;

const HOSTILE = [
  '',
  ' ',
  '\u0000',
  '\ud800',
  '..',
  '../../etc/passwd',
  "'; drop table provisioning.servers; --",
  '%00',
  '*',
  'null',
  'true',
  '-1',
  '1e309',
  '9007199254740993',
  '99999999999999999999',
  '2025-02-30T25:61:61Z',
  '0000-00-00',
  '+275760-09-13T00:00:00Z',
  '漢字',
  '\u202e',
  'constructor',
  '__proto__',
  'x'.repeat(300),
  Buffer.from('["after","x","y"]').toString('base64url'),
  Buffer.from('["before","2025-01-01T00:00:00Z","01890000-0000-7000-8000-000000000000"]').toString('base64url'),
];

/** Any JSON at all. */
const anything: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(...HOSTILE),
  fc.constantFrom<unknown>(null, 0, -1, 1e308, 2 ** 31, 2 ** 53, 0.1, true, false, [], {}, [[]], { '': null }),
  fc.jsonValue({ maxDepth: 4 }),
);

/** How requests are made. */
interface Making {
  existing: Existing;
  /** How many in a dozen values, bodies and headers are wrong. */
  wrong: 0 | 1;
}

/** A value of the schema, one of those that exist, or now and then anything. */
function nearly(schema: Schema, name: string, making: Making): fc.Arbitrary<unknown> {
  const known = making.existing[name] ?? [];
  const good = known.length > 0 ? fc.constantFrom<unknown>(...known) : goodValue(schema, name, making);
  return fc.oneof(
    { weight: 10, arbitrary: good },
    { weight: 1, arbitrary: goodValue(schema, name, making) },
    { weight: making.wrong, arbitrary: anything },
  );
}

function goodValue(schema: Schema, name: string, making: Making): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const either = schema.anyOf ?? schema.oneOf;
  if (either !== undefined) return fc.oneof(...either.map((one) => goodValue(one, name, making)));
  const types = [schema.type ?? []].flat();
  return types.length === 0 ? anything : fc.oneof(...types.map((type) => ofType(type, schema, name, making)));
}

function ofType(type: string, schema: Schema, name: string, making: Making): fc.Arbitrary<unknown> {
  const { minimum = -1_000, maximum = 1_000, maxItems = 5, items = {} } = schema;
  switch (type) {
    case 'string':
      return textOf(schema);
    case 'integer':
      return fc.integer({ min: minimum, max: Math.min(maximum, 2 ** 31 - 1) });
    case 'number':
      return fc.double({ min: minimum, max: maximum, noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'array':
      return fc.array(nearly(items, name, making), { maxLength: Math.min(maxItems, 5) });
    case 'object':
      return objectOf(schema, making);
    default:
      return fc.constant(null);
  }
}

const someDate = fc.date({ min: new Date('1970-01-01'), max: new Date('2100-01-01'), noInvalidDate: true });

function textOf({ format, pattern, minLength = 0, maxLength = 40 }: Schema): fc.Arbitrary<string> {
  if (format === 'uuid') return fc.uuid();
  if (format === 'date-time') return someDate.map((date) => date.toISOString());
  if (format === 'date') return someDate.map((date) => date.toISOString().slice(0, 10));
  if (format === 'ipv4') return fc.ipV4();
  if (format === 'ipv6') return fc.ipV6();
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
  return fc.string({ minLength, maxLength: Math.max(minLength, Math.min(maxLength, 40)), unit: 'binary' });
}

/** The value, or with these odds none. */
function maybe<T>(value: fc.Arbitrary<T>, given: number, absent: number): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: given, arbitrary: value }, { weight: absent, arbitrary: fc.constant(undefined) });
}

/** The required fields, some of the others, and now and then one that is not known. */
function objectOf({ properties = {}, required = [] }: Schema, making: Making): fc.Arbitrary<unknown> {
  const fields = Object.entries(properties).map(([name, schema]) => {
    const value = nearly(schema, name, making);
    return [name, required.includes(name) ? maybe(value, 20, making.wrong) : maybe(value, 1, 1)] as const;
  });
  const stranger = fc.tuple(fc.constantFrom('x', 'chek_mode', '__proto__', ''), anything);
  return fc.tuple(fc.record(Object.fromEntries(fields)), maybe(stranger, making.wrong, 12)).map(([object, more]) => {
    const kept = Object.entries(object).filter(([, value]) => value !== undefined);
    return Object.fromEntries(more === undefined ? kept : [...kept, more]);
  });
}

function parameterText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return encodeURIComponent(text.toWellFormed());
}

const keys = fc.constantFrom('a', 'b', 'c').map((key) => ({ 'idempotency-key': key }));
const oddHeaders: fc.Arbitrary<Record<string, string>> = fc.oneof(
  fc.constantFrom('', ' ', 'x'.repeat(256)).map((key) => ({ 'idempotency-key': key })),
  fc.constantFrom('', '-1', '1.2.3', 'x'.repeat(90)).map((id) => ({ 'last-event-id': id })),
  fc.constantFrom('', 'ü', 'a b').map((id) => ({ 'x-request-id': id })),
  fc
    .constantFrom('text/plain', 'multipart/form-data', 'application/jsonx', ';')
    .map((type) => ({ 'content-type': type })),
);

function queryOf(parameters: Parameter[], fixed: Existing, making: Making): fc.Arbitrary<string> {
  const each = parameters.map(({ name, schema }) => {
    const values = fixed[name];
    const text =
      values === undefined ? maybe(nearly(schema, name, making).map(parameterText), 1, 5) : fc.constantFrom(...values);
    return text.map((given) => (given === undefined ? [] : [`${name}=${given}`]));
  });
  return fc.tuple(...each).map((given) => given.flat().join('&'));
}

function bodyOf(schema: Schema, making: Making): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 12, arbitrary: goodValue(schema, 'body', making).map((json) => JSON.stringify(json)) },
    { weight: making.wrong, arbitrary: anything.map((json) => JSON.stringify(json)) },
    { weight: making.wrong, arbitrary: fc.constantFrom('', '{', '{"a":', '\u0000', '['.repeat(200)) },
  );
}

/**
 * Requests for the endpoint: half of them as it wants them, half of them with something wrong.
 * @param fixed query parameters that are always given, from these values.
 */
export function requestFor(endpoint: Endpoint, existing: Existing, fixed: Existing = {}): fc.Arbitrary<RawRequest> {
  return fc.oneof(
    makeRequest(endpoint, fixed, { existing, wrong: 0 }),
    makeRequest(endpoint, fixed, { existing, wrong: 1 }),
  );
}

function makeRequest(endpoint: Endpoint, fixed: Existing, making: Making): fc.Arbitrary<RawRequest> {
  const inPath = endpoint.parameters.filter((parameter) => parameter.in === 'path');
  const inQuery = endpoint.parameters.filter((parameter) => parameter.in === 'query');
  const parts = fc.tuple(...inPath.map(({ name, schema }) => nearly(schema, name, making).map(parameterText)));
  const body = endpoint.body === null ? fc.constant(null) : bodyOf(endpoint.body, making);
  const headers = fc.oneof(
    { weight: 10, arbitrary: fc.constant({}) },
    { weight: 2, arbitrary: keys },
    { weight: 2 * making.wrong, arbitrary: oddHeaders },
  );
  return fc.tuple(parts, queryOf(inQuery, fixed, making), body, headers).map(([values, query, text, more]) => {
    const named = new Map(inPath.map(({ name }, index) => [`{${name}}`, values[index] ?? '']));
    const path = endpoint.path.replaceAll(/\{\w+\}/g, (name) => named.get(name) ?? name);
    return {
      method: endpoint.method,
      path: query === '' ? path : `${path}?${query}`,
      headers: { ...(text === null ? {} : { 'content-type': 'application/json' }), ...more },
      ...(text === null ? {} : { body: text }),
    };
  });
}
