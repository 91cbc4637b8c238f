/**
 * Every kind of operation, held to docs/contracts/operation.md. What needs a server is proven in check-mode.test.ts (O6 to O10,
 * O16, O17) and in steps.test.ts (O2, O4, O9, O11).
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { PERMISSIONS } from '../../src/access/permissions.ts';
import { OPERATION_KINDS } from '../../src/operation-kinds.ts';
import { nodesOf } from '../../src/workflows/kinds/nodes.ts';
import { allKinds } from '../../src/workflows/kinds/plain-rules.ts';
import '../../src/workflows/kinds/rules.ts';

/** Kinds of the first release and since: stored in databases out there, so none may go or be renamed. */
const PERSISTED = [
  'orphan.delete',
  'server.adopt',
  'server.cleanup',
  'server.create',
  'server.delete',
  'server.guard',
  'server.import',
  'server.reconcile',
  'server.refresh',
  'server.repair',
  'server.resize',
  'server.restart',
  'server.start',
  'server.stop',
  'taskserv.check',
  'taskserv.create',
  'taskserv.delete',
  'taskserv.guard',
  'taskserv.reconcile',
  'taskserv.retry',
  'taskserv.update',
  'workflow.approval',
  'workflow.command',
  'workflow.rollback',
  'workflow.run',
  'workflow.wait',
];

interface Schema {
  type?: string;
  items?: Schema;
  anyOf?: Schema[];
}
interface Body {
  content?: Record<string, { schema: Schema }>;
}
interface Endpoint {
  operationId?: string;
  'x-permission'?: string;
  requestBody?: Body;
  responses: Record<string, Body>;
}
interface Description {
  paths: Record<string, Record<string, Endpoint>>;
}
const schemaOf = (body: Body | undefined) => body?.content?.['application/json']?.schema;
const { paths } = JSON.parse(
  await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'),
) as Description;
const endpoints = Object.values(paths).flatMap((methods) => Object.values(methods));

test('O1: kinds are unique, of one form, and none that was ever stored is missing', () => {
  const names = OPERATION_KINDS.map(({ kind }) => kind);
  for (const name of names) assert.match(name, /^[a-z]+\.[a-z_]+$/);
  assert.deepEqual(names.toSorted(), PERSISTED);
});

/** Kinds that are done when they are accepted. */
const DONE_AT_ONCE = ['server.guard', 'taskserv.guard'];

test('O2: every kind has one procedure, under its own name, or is done when it is accepted', () => {
  // Procedures only keep what they are given until they run.
  const tools = new Proxy({}, { get: () => tools });
  for (const { kind, procedure } of OPERATION_KINDS) {
    assert.equal(procedure?.(tools as never).kind, DONE_AT_ONCE.includes(kind) ? undefined : kind);
  }
});

test('O3: every endpoint has an operationId that no other one has, and what it takes and answers has a name', () => {
  const ids = endpoints.map(({ operationId }) => operationId ?? '');
  for (const id of ids) assert.match(id, /^[a-z][A-Za-z]+$/);
  assert.deepEqual(ids.toSorted(), [...new Set(ids)].toSorted());
  for (const { operationId } of OPERATION_KINDS.flatMap((kind) => kind.endpoints)) assert.ok(ids.includes(operationId));
  for (const { operationId, requestBody, responses } of endpoints) {
    for (const schema of [schemaOf(requestBody), schemaOf(responses['200'])]) {
      const choices = schema?.anyOf ?? [schema?.items ?? schema];
      for (const choice of choices) assert.notEqual(choice?.type, 'object', `${operationId}: a body without a name`);
    }
  }
});

test('O5: every kind that is asked for names a permission that exists', () => {
  for (const { kind, permission, endpoints } of OPERATION_KINDS) {
    if (endpoints.length === 0) continue;
    assert.ok(permission !== null && PERMISSIONS.includes(permission), kind);
  }
});

test('O12: what fails or is cancelled says what holds, wherever something was changed', () => {
  const tools = new Proxy({}, { get: () => tools });
  const silent = OPERATION_KINDS.filter(
    ({ procedure }) => procedure !== undefined && procedure(tools as never).compensate === undefined,
  );
  // They change nothing but what they look at, or wait.
  assert.deepEqual(
    silent.map(({ kind }) => kind),
    ['taskserv.check', 'taskserv.reconcile', 'workflow.approval', 'workflow.wait'],
  );
});

test('O15: a node that takes secrets has the field', () => {
  for (const { kind, node } of OPERATION_KINDS) {
    if (node?.secrets === undefined) continue;
    assert.ok('properties' in node.with && node.secrets in (node.with.properties as object), kind);
  }
});

test('a workflow knows every kind of node, by one name each', () => {
  const names = nodesOf(OPERATION_KINDS).map(([name]) => name);
  assert.deepEqual(names.toSorted(), allKinds().toSorted());
  assert.deepEqual(names.length, new Set(names).size);
});

test('O13, O14: a node can be undone or says why not, and names the thing that it changes', () => {
  for (const { kind, node } of OPERATION_KINDS) {
    if (node === undefined) continue;
    assert.equal(typeof node.undo, 'function', kind);
    const fields = 'properties' in node.with ? Object.keys(node.with.properties as object) : [];
    const target = node.target?.field;
    for (const name of ['server', 'taskserv']) if (fields.includes(name)) assert.equal(target, name, kind);
    if (target !== undefined) assert.ok(fields.includes(target), kind);
  }
});
