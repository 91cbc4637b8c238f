/** A database of the version before, which knew only from the audit log where users had logged in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKnownAddress } from '../../src/access/login-addresses.ts';
import { migrate } from '../../src/database/migrate.ts';
import { uuidv7 } from '../../src/database/uuid.ts';
import { createTestDatabase } from '../support/database.ts';

const BEFORE = '0060_sealed_keys';

test('users are known where they logged in before the upgrade, so that guesses do not lock them out', async () => {
  await using database = await createTestDatabase({ empty: true, poolSize: 2 });
  const { db, pool } = database;
  await migrate(db, BEFORE);
  const [ann, bob] = [uuidv7(), uuidv7()];
  for (const [id, name, created] of [
    [ann, 'ann', '1 year'],
    [bob, 'bob', '1 day'],
  ]) {
    await pool.query(
      `insert into provisioning.users (id, username, password_hash, created_at) values ($1, $2, 'x', now() - $3::interval)`,
      [id, name, created],
    );
  }
  const login = (name: string, outcome: string, address: string, ago: string) =>
    pool.query(
      `insert into provisioning.audit_log (id, at, principal, action, outcome, address)
       values ($1, now() - $2::interval, $3, 'auth.login', $4, $5)`,
      [uuidv7(), ago, name, outcome, address],
    );
  await login('ann', 'allowed', '192.0.2.1', '1 hour');
  await login('ann', 'allowed', '192.0.2.1', '2 hours');
  await login('ann', 'allowed', '2001:db8:1:2:3:4:5:6', '2 days');
  await login('ann', 'allowed', '192.0.2.2', '100 days');
  await login('ann', 'denied', '192.0.2.3', '1 hour');
  await login('bob', 'allowed', '192.0.2.4', '2 days');

  await migrate(db);

  const known = (id: string, address: string) => isKnownAddress(db, id, address);
  assert.equal(await known(ann, '192.0.2.1'), true);
  assert.equal(await known(ann, '2001:db8:1:2::'), true, 'as the network that limits count');
  assert.equal(await known(ann, '192.0.2.2'), false, 'too long ago');
  assert.equal(await known(ann, '192.0.2.3'), false, 'a guess');
  assert.equal(await known(bob, '192.0.2.4'), false, 'of somebody who had the name before');
});
