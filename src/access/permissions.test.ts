import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApplicationError } from '../errors.ts';
import {
  GLOBAL_PERMISSIONS,
  isPermitted,
  OWN_ONLY,
  PERMISSIONS,
  type Principal,
  permittedWorkspaces,
  ROLE_NAMES,
  ROLES,
  type Role,
  requirePermission,
} from './permissions.ts';
import { holdsBinding, intersectBindings, narrowBindings } from './token-roles.ts';

function principal(role: Role, workspace: string | null): Principal {
  return { userId: 'ann-id', name: 'ann', label: 'ann', tokenId: null, bindings: [{ role, workspace }] };
}

function statusOf(work: () => void): number {
  try {
    work();
    return 200;
  } catch (error) {
    assert.ok(error instanceof ApplicationError);
    return error.status;
  }
}

const thing = (workspace: string, ownerId: string | null) =>
  ({ what: 'server', id: 'srv-1', workspace, ownerId, read: 'server_read' }) as const;

for (const role of ROLE_NAMES) {
  test(`${role}: every permission, in its workspace, in another and in all`, () => {
    for (const permission of PERMISSIONS) {
      const granted = (ROLES[role] as readonly string[]).includes(permission);
      const ownOnly = (OWN_ONLY[role] ?? []).includes(permission);
      const global = GLOBAL_PERMISSIONS.includes(permission);
      const everywhere = principal(role, null);
      const bound = principal(role, 'a');
      assert.equal(isPermitted(everywhere, permission, 'b'), granted, permission);
      assert.equal(isPermitted(bound, permission, 'a'), granted && !global, permission);
      assert.equal(isPermitted(bound, permission, 'b'), false, permission);
      assert.deepEqual(permittedWorkspaces(everywhere, permission), granted ? null : []);
      if (global) continue;
      const refused = granted ? 200 : 403;
      assert.equal(
        statusOf(() => requirePermission(bound, permission, thing('a', 'ann-id'))),
        refused,
        `own, ${permission}`,
      );
      const others = granted && ownOnly ? 403 : refused;
      assert.equal(
        statusOf(() => requirePermission(bound, permission, thing('a', 'bob-id'))),
        others,
        `of others, ${permission}`,
      );
      assert.equal(
        statusOf(() => requirePermission(bound, permission, thing('b', 'ann-id'))),
        404,
        `elsewhere, ${permission}`,
      );
    }
  });
}

test('what a token and its owner have in common is never more than either', () => {
  const places = [null, 'a', 'b'];
  const all = ROLE_NAMES.flatMap((role) => places.map((workspace) => ({ role, workspace })));
  for (const wanted of all) {
    for (const held of all) {
      const shared = { ...principal('viewer', null), bindings: intersectBindings([wanted], [held]) };
      const one = { ...shared, bindings: [wanted] };
      const other = { ...shared, bindings: [held] };
      for (const permission of PERMISSIONS) {
        for (const workspace of ['a', 'b', 'c']) {
          for (const owner of ['ann-id', 'bob-id', null]) {
            const may = (who: Principal) =>
              statusOf(() => requirePermission(who, permission, thing(workspace, owner))) === 200;
            if (may(shared)) assert.ok(may(one) && may(other), JSON.stringify({ wanted, held, permission, workspace }));
          }
        }
      }
    }
  }
  const of = (role: Role, workspace: string | null = null) => [{ role, workspace }];
  assert.deepEqual(intersectBindings(of('viewer'), of('admin')), of('viewer'));
  assert.deepEqual(intersectBindings(of('operator'), of('viewer', 'a')), of('viewer', 'a'));
  assert.deepEqual(intersectBindings(of('auditor'), of('developer')), of('viewer'));
  assert.deepEqual(intersectBindings(of('operator'), of('developer')), of('developer'));
  assert.deepEqual(intersectBindings([{ role: 'forgotten', workspace: null }], of('admin')), []);
  assert.ok(holdsBinding(of('admin'), { role: 'operator', workspace: 'a' }));
  assert.ok(!holdsBinding(of('operator', 'a'), { role: 'operator', workspace: null }));
});

test('what is narrowed to permissions stays so, in common with anything and passed on', () => {
  const narrowed = (permissions: string[], role: Role = 'operator') => [{ role, workspace: null, permissions }];
  const wide = [{ role: 'operator', workspace: null }];
  const reads = narrowed(['server_read', 'server_create']);
  assert.deepEqual(intersectBindings(wide, reads), reads);
  assert.deepEqual(intersectBindings(reads, narrowed(['server_read', 'webhook_read'])), narrowed(['server_read']));
  assert.deepEqual(intersectBindings(reads, narrowed(['webhook_read'])), []);
  const asViewer = {
    ...principal('viewer', null),
    bindings: intersectBindings(reads, [{ role: 'viewer', workspace: 'a' }]),
  };
  assert.deepEqual(
    PERMISSIONS.filter((permission) => isPermitted(asViewer, permission)),
    ['server_read'],
  );
  assert.ok(holdsBinding(wide, { role: 'operator', workspace: null, permissions: ['server_read'] }));
  assert.ok(!holdsBinding(reads, { role: 'operator', workspace: null }));
  assert.ok(!holdsBinding(reads, { role: 'operator', workspace: null, permissions: ['server_read', 'webhook_read'] }));
  // A permission that the role does not have is not had by naming it.
  assert.ok(!isPermitted({ ...principal('viewer', null), bindings: narrowed(['user_write'], 'viewer') }, 'user_write'));
  assert.deepEqual(narrowBindings(wide, ['a', 'b'], ['server_read', 'user_write']), [
    { role: 'operator', workspace: 'a', permissions: ['server_read'] },
    { role: 'operator', workspace: 'b', permissions: ['server_read'] },
  ]);
  assert.deepEqual(narrowBindings([{ role: 'viewer', workspace: 'a' }], ['b'], undefined), []);
});
