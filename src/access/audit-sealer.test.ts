import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import { uuidv7 } from '../database/uuid.ts';
import { sealBatch, startAuditSealer, verifyAudit } from './audit-sealer.ts';

const testDatabase = await createTestDatabase();
const { db } = testDatabase;
after(() => testDatabase.close());

async function write(count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, n) => ({
    id: uuidv7(),
    principal: 'ann',
    action: 'server.create',
    workspace: 'a',
    resource: null,
    outcome: 'allowed' as const,
    address: '127.0.0.1',
    request_id: 'r',
    operation_id: null,
    details: JSON.stringify({ n, text: 'ä' }),
    position: null,
    hash: null,
  }));
  await db.insertInto('provisioning.audit_log').values(rows).execute();
}

/** As somebody would who holds the database. */
async function tamper(statement: string): Promise<void> {
  await sql.raw('alter table provisioning.audit_log disable trigger user').execute(db);
  await sql.raw(statement).execute(db);
  await sql.raw('alter table provisioning.audit_log enable trigger user').execute(db);
}

async function sealAll(): Promise<number> {
  let sealed = 0;
  for (let n = await sealBatch(db); n > 0; n = await sealBatch(db)) sealed += n;
  return sealed;
}

test('an empty log is whole', async () => {
  assert.equal(await sealBatch(db), 0);
  assert.deepEqual(await verifyAudit(db), { ok: true });
});

test('rows are chained in batches, however many replicas try at once', async () => {
  await write(1_203);
  const sealed = await Promise.all([sealBatch(db), sealBatch(db), sealBatch(db)]);
  const total = sealed.reduce((a, b) => a + b) + (await sealAll());
  assert.equal(total, 1_203);
  await write(5);
  assert.equal(await sealAll(), 5);
  const { rows } = await sql<{ n: number; last: number }>`
    select count(distinct position)::int as n, max(position)::int as last from provisioning.audit_log`.execute(db);
  assert.deepEqual(rows[0], { n: 1_208, last: 1_208 });
  assert.deepEqual(await verifyAudit(db), { ok: true });
});

test('a sealed row can be neither changed nor deleted, and whoever forces it is found out', async () => {
  await assert.rejects(
    sql`update provisioning.audit_log set principal = 'bob' where position = 700`.execute(db),
    /append-only/,
  );
  await assert.rejects(sql`delete from provisioning.audit_log where position = 700`.execute(db), /append-only/);
  await tamper("update provisioning.audit_log set principal = 'bob' where position = 700");
  assert.deepEqual(await verifyAudit(db), { ok: false, position: 700 });
  await tamper("update provisioning.audit_log set principal = 'ann' where position = 700");
  assert.deepEqual(await verifyAudit(db), { ok: true });
  await tamper('delete from provisioning.audit_log where position = 600');
  assert.deepEqual(await verifyAudit(db), { ok: false, position: 600 });
});

test('the sealer seals by itself and stops', async () => {
  await write(1);
  const sealer = startAuditSealer({ db, logger: { warn: (message: unknown) => assert.fail(String(message)) } });
  const unsealed = async () =>
    (await sql<{ n: number }>`select count(*)::int as n from provisioning.audit_log where position is null`.execute(db))
      .rows[0]?.n;
  for (let tries = 0; tries < 100 && (await unsealed()) !== 0; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(await unsealed(), 0);
  await sealer.stop();
});
