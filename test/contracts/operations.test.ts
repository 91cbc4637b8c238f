/** Every kind of operation, held to docs/contracts/operation.md. What needs a server is proven elsewhere; see there. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { PERMISSIONS } from '../../src/access/permissions.ts';
import { SERVER_OPERATIONS } from '../../src/servers/operations.ts';
import { TASKSERV_OPERATIONS } from '../../src/taskservs/operations.ts';
import { WORKFLOW_OPERATIONS } from '../../src/workflows/operations.ts';

const KINDS = [...SERVER_OPERATIONS, ...TASKSERV_OPERATIONS, ...WORKFLOW_OPERATIONS];

/** Kinds of the first release and since: stored in databases out there, so none may go or be renamed. */
const PERSISTED = [
  'orphan.delete',
  'server.adopt',
  'server.cleanup',
  'server.create',
  'server.delete',
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
  'taskserv.reconcile',
  'taskserv.retry',
  'taskserv.update',
  'workflow.approval',
  'workflow.command',
  'workflow.rollback',
  'workflow.run',
  'workflow.wait',
];

interface Description {
  paths: Record<string, Record<string, { operationId?: string; 'x-permission'?: string }>>;
}
const { paths } = JSON.parse(
  await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'),
) as Description;
const endpoints = Object.values(paths).flatMap((methods) => Object.values(methods));

test('O1: kinds are unique, of one form, and none that was ever stored is missing', () => {
  const names = KINDS.map(({ kind }) => kind);
  for (const name of names) assert.match(name, /^[a-z]+\.[a-z_]+$/);
  assert.deepEqual(names.toSorted(), PERSISTED);
});

test('O2: every kind has one procedure, under its own name', () => {
  // Procedures only keep what they are given until they run.
  const tools = new Proxy({}, { get: () => tools });
  for (const { kind, procedure } of KINDS) {
    const made = (procedure as ((tools: object) => { kind: string }) | undefined)?.(tools);
    assert.equal(made?.kind, kind);
  }
});

test('O3: no two endpoints have the same operationId', () => {
  const ids = endpoints.flatMap(({ operationId }) => operationId ?? []);
  assert.ok(ids.length >= KINDS.filter(({ route }) => route !== undefined).length);
  assert.deepEqual(ids.toSorted(), [...new Set(ids)].toSorted());
});

test('O5: every kind that is asked for names a permission that exists', () => {
  for (const { kind, permission, route } of KINDS) {
    if (route === undefined) continue;
    assert.ok(permission !== null && PERMISSIONS.includes(permission), kind);
  }
});

test('O13, O14: a node can be undone or says why not, and names the thing that it changes', () => {
  for (const { kind, node } of KINDS) {
    if (node === undefined) continue;
    assert.equal(typeof node.undo, 'function', kind);
    const fields = 'properties' in node.with ? Object.keys(node.with.properties as object) : [];
    const names = ['server', 'taskserv'].filter((name) => fields.includes(name));
    assert.deepEqual(node.target === undefined ? [] : [node.target.field], names, kind);
  }
});
