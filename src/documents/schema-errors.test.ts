import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { type TSchema, Type } from 'typebox';
import { pathText } from './json.ts';
import { schemaProblems, type Wording } from './schema-errors.ts';

/** As `field: message`, with near matches in brackets. */
function told(schema: TSchema, value: unknown, wording: Partial<Wording> = {}): string[] {
  const validate = new Ajv({ allErrors: true, strict: false, verbose: true }).compile(schema);
  assert.equal(validate(value), false);
  return schemaProblems(validate.errors ?? [], wording).map(
    ({ path, message, near_matches: near }) =>
      `${pathText(path)}: ${message}${near === undefined ? '' : ` [${near.join(' ')}]`}`,
  );
}

const closed = { additionalProperties: false };
const Name = Type.String({ pattern: '^[a-z]+$', description: 'Lower-case letters.' });
const Flavor = Type.Union([Type.Literal('plain'), Type.Literal('etcd')]);
const Server = Type.Object({ name: Name, tags: Type.Optional(Type.Array(Type.String())) }, closed);

test('each mistake is told once, at its field, with what would have been right', () => {
  assert.deepEqual(told(Server, { nam: 'web' }), ['name: is required', 'nam: unknown field; known: name, tags [name]']);
  assert.deepEqual(told(Server, { name: 'web', tags: ['a', 5] }), ['tags[1]: must be string, not number']);
  assert.deepEqual(told(Type.String({ enum: ['small', 'large'] }), 'smal'), [': must be one of small, large [small]']);
  assert.deepEqual(told(Flavor, 'etc'), [': must be one of plain, etcd [etcd]']);
});

test('of a choice the branch speaks that the value was meant for', () => {
  assert.deepEqual(told(Type.Union([Server, Type.Null()]), { name: 'web', tag: [] }), [
    'tag: unknown field; known: name, tags [tags]',
  ]);
  assert.deepEqual(told(Type.Union([Type.Array(Type.String()), Name]), [1]), ['[0]: must be string, not number']);
  const both = Type.Unsafe({ oneOf: [{ type: 'string' }, { minLength: 1 }] });
  assert.deepEqual(told(both, 'x'), [': must match exactly one schema in oneOf']);
});

test('a wrong value is quoted, and a pattern told, only where that is asked for', () => {
  assert.deepEqual(told(Server, { name: 'canary-1' }), ['name: does not match ^[a-z]+$']);
  assert.deepEqual(told(Server, { name: 'canary-1' }, { described: true }), [
    'name: does not fit. Lower-case letters.',
  ]);
  assert.deepEqual(told(Server, { name: 'WEB' }, { quote: true }), ['name: "WEB" does not match ^[a-z]+$']);
  assert.deepEqual(told(Type.Integer(), 'x', { types: false }), [': must be integer']);
});
