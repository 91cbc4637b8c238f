import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { uuidv7 } from '../database/uuid.ts';
import { insertServer, noteRef, removeServer, updateServer } from './store.ts';

const { db, pool, close } = await createTestDatabase();
after(close);
await pool.query(`insert into provisioning.workspaces (name, path) values ('default', '/w')`);

async function insert(hostname: string): Promise<string> {
  const id = `srv-${hostname}`;
  const spec = { workspace: 'default', hostname, plan: 'p', zone: 'z', tags: [], provider: 'hetzner' };
  await insertServer(db, { ...spec, id, operationId: uuidv7(), createdBy: 'admin', ownerId: null });
  return id;
}

const refOf = async (id: string) =>
  (await db.selectFrom('provisioning.servers').select('provider_ref').where('id', '=', id).executeTakeFirstOrThrow())
    .provider_ref;

test('an id that a provider uses again goes from a server that it has no more, and from no other', async () => {
  const [old, made] = [await insert('old'), await insert('made')];
  assert.equal(await noteRef(db, old, '7'), null);
  for (const status of ['running', 'deleting', 'unknown']) {
    await updateServer(db, old, { status });
    assert.deepEqual(await noteRef(db, made, '7'), { id: old, hostname: 'old', status });
    assert.deepEqual([await refOf(old), await refOf(made)], ['7', null]);
  }
  await updateServer(db, old, { status: 'missing' });
  assert.equal(await noteRef(db, made, '7'), null);
  assert.deepEqual([await refOf(old), await refOf(made)], [null, '7']);
  // The same again, and that of one that has been deleted since.
  assert.equal(await noteRef(db, made, '7'), null);
  await removeServer(db, made);
  const third = await insert('third');
  assert.equal(await noteRef(db, third, '7'), null);
});
