import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import { needs } from '../../test/support/needs.ts';
import { uuidv7 } from '../database/uuid.ts';
import { type AuditLine, type AuditReport, createVerifier } from '../documents/audit-chain.ts';
import { lastCheckpoint, readAuditLines } from './audit-log.ts';
import { type Sealing, sealBatch, startAuditSealer } from './audit-sealer.ts';

const testDatabase = await createTestDatabase();
const { db } = testDatabase;
after(() => testDatabase.close());

const installation = 'an installation';
const key = randomBytes(32);
/** Another replica each. */
const replica = (): Sealing => ({ db, installation, key, seen: null });

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
    details: JSON.stringify({ n, text: 'ä "\\ \u2028', small: 1e-7, nested: [null, true] }),
    position: null,
    hash: null,
  }));
  await db.insertInto('provisioning.audit_log').values(rows).execute();
}

/** As somebody would who holds the database. */
async function tamper(...statements: string[]): Promise<void> {
  const tables = ['audit_log', 'audit_checkpoints'];
  for (const table of tables) await sql.raw(`alter table provisioning.${table} disable trigger user`).execute(db);
  for (const statement of statements) await sql.raw(statement).execute(db);
  for (const table of tables) await sql.raw(`alter table provisioning.${table} enable trigger user`).execute(db);
}

async function sealAll(sealing = replica()): Promise<{ rows: number; broken: string | null }> {
  let rows = 0;
  let broken: string | null = null;
  for (let more = true; more; ) {
    const done = await sealBatch(sealing);
    rows += done.sealed;
    broken ??= done.broken;
    more = done.sealed > 0;
  }
  return { rows, broken };
}

const allLines = () => readAuditLines(db, installation, 0, 1_000_000);

async function verify(): Promise<AuditReport> {
  const verifier = createVerifier({ key, noted: null });
  for (const line of await allLines()) verifier.take(line);
  return verifier.end();
}

test('an empty log is whole', async () => {
  assert.deepEqual(await sealBatch(replica()), { sealed: 0, broken: null });
  assert.equal((await verify()).ok, true);
  assert.equal(await lastCheckpoint(db, installation), null);
});

test('rows are chained in batches, each with a checkpoint, however many replicas try at once', async () => {
  await write(1_203);
  const sealed = await Promise.all([sealBatch(replica()), sealBatch(replica()), sealBatch(replica())]);
  const total = sealed.reduce((sum, one) => sum + one.sealed, 0) + (await sealAll()).rows;
  assert.equal(total, 1_203);
  await write(5);
  assert.equal((await sealAll()).rows, 5);
  const { ok, rows, first, last, checkpoints, vouched_from: from, vouched_to: to } = await verify();
  const expected = { ok: true, rows: 1_208, first: 1, last: 1_208, checkpoints: 4, from: 1, to: 1_208 };
  assert.deepEqual({ ok, rows, first, last, checkpoints, from, to }, expected);
});

/** Reads the bytes of docs/guides/audit.md for itself, and shares nothing with our verifier. */
const PYTHON = `
import hashlib, hmac, json, sys
key, head, rows, last = bytes.fromhex(sys.argv[1]), b"", 0, ""
for line in sys.stdin:
    line = json.loads(line)
    if line["kind"] == "row":
        head = hashlib.sha256(head + line["sealed"].encode()).digest()
        assert head.hex() == line["hash"], line["position"]
        assert json.loads(line["sealed"])[2] == line["principal"]
        rows += 1
    else:
        assert line["hash"] == head.hex() and line["position"] == rows
        assert (line["previous"] or "") == last
        text = "\\n".join(["provisioning audit checkpoint v1", line["installation"], str(line["number"]),
            str(line["since"]), str(line["position"]), line["hash"], line["at"], last]) + "\\n"
        last = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        assert last == line["mac"], line["number"]
print(rows)
`;

test('a verifier that somebody else wrote by the documentation agrees', { skip: needs('python3') }, async () => {
  const lines = await allLines();
  const run = (given: AuditLine[], by = key) =>
    spawnSync('python3', ['-c', PYTHON, by.toString('hex')], {
      input: given.map((line) => JSON.stringify(line)).join('\n'),
      encoding: 'utf8',
    });
  const right = run(lines);
  assert.equal(right.stdout.trim(), '1208', right.stderr);
  assert.notEqual(run(lines, randomBytes(32)).status, 0);
  const changed = lines.map((line) => (line.kind === 'row' && line.position === 7 ? { ...line, sealed: '[]' } : line));
  assert.notEqual(run(changed).status, 0);
});

test('the database lets nobody change, delete or truncate sealed rows or checkpoints', async () => {
  for (const table of ['audit_log', 'audit_checkpoints']) {
    const column = table === 'audit_log' ? 'principal' : 'mac';
    const statements = [
      `update provisioning.${table} set ${column} = ${column} where position = 500`,
      `delete from provisioning.${table} where position = 500`,
      `truncate provisioning.${table}`,
    ];
    for (const statement of statements) await assert.rejects(sql.raw(statement).execute(db), /append-only/, statement);
  }
  // The way of retention is open only for what is old, whatever is written about exports.
  await db
    .transaction()
    .execute(async (tx) => {
      await sql.raw(FORGED_RETENTION(500)).execute(tx);
      await assert.rejects(sql`delete from provisioning.audit_log where position = 1`.execute(tx), /append-only/);
      throw new Error('nothing of it stays');
    })
    .catch((error: Error) => assert.match(error.message, /nothing of it stays/));
});

/** What retention writes, as somebody without the key would. */
const FORGED_RETENTION = (through: number) => `
  insert into provisioning.audit_exports (destination, position, hash, exported_at, mac)
    values ('x', 9000000000000, '', now(), '');
  insert into provisioning.audit_retention (through, hash, at, exported_to, mac)
    select position, hash, now(), 'x', mac from provisioning.audit_log
      join provisioning.audit_checkpoints using (position, hash) where position >= ${through} order by position limit 1`;

test('whoever forces a change of the chain is found out', async () => {
  await tamper("update provisioning.audit_log set principal = 'bob' where position = 700");
  assert.match((await verify()).problem ?? '', /Row 700 is not what was sealed/);
  await tamper("update provisioning.audit_log set principal = 'ann' where position = 700");
  assert.equal((await verify()).ok, true);
  await tamper('create table kept as select * from provisioning.audit_log where position = 600');
  await tamper('delete from provisioning.audit_log where position = 600');
  assert.match((await verify()).problem ?? '', /Row 600 is missing/);
  await tamper('insert into provisioning.audit_log select * from kept');
  assert.equal((await verify()).ok, true);
});

/** Makes the chain from a row on anew, as the documentation says, which needs no key. */
function chainAnew(from: number): string {
  return `do $$ declare r record; previous bytea; begin
    select hash into previous from provisioning.audit_log where position = ${from - 1};
    for r in select position, json_build_array(id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), principal,
      action, workspace, resource, outcome, address, request_id, operation_id, details)::text as sealed
      from provisioning.audit_log where position >= ${from} order by position loop
      previous := sha256(coalesce(previous, '') || convert_to(r.sealed, 'UTF8'));
      update provisioning.audit_log set hash = previous where position = r.position;
    end loop; end $$`;
}

test('a chain that was made anew without the key is found out, and never vouched for afterwards', async () => {
  const noted = await lastCheckpoint(db, installation);
  assert.ok(noted !== null);
  const watching = { ...replica(), seen: noted };
  await tamper("update provisioning.audit_log set principal = 'bob' where position = 1100", chainAnew(1_100));
  // The row is part of an unbroken chain again, but not of the one that was vouched for.
  assert.match((await verify()).problem ?? '', /Checkpoint \d+ vouches for another row/);

  // With the checkpoints from there on gone as well, a replica that has seen them notices.
  await tamper('delete from provisioning.audit_checkpoints where position >= 1100');
  await write(1);
  const { broken } = await sealAll(watching);
  assert.match(broken ?? '', /checkpoint 4 is gone/);
  const { rows } = await sql<{ action: string }>`
    select action from provisioning.audit_log where action = 'audit.tampered'`.execute(db);
  assert.equal(rows.length, 1);
  assert.match((await verify()).problem ?? '', /vouches only from row 1209 on/);

  // And without any replica that has, whoever kept a checkpoint elsewhere does.
  const verifier = createVerifier({ key, noted });
  for (const line of await allLines()) verifier.take(line);
  assert.equal(verifier.end().ok, false);
});

test('rows that were removed from the beginning show, though no trigger was taken off', async () => {
  await using separate = await createTestDatabase();
  const at: Sealing = { ...replica(), db: separate.db };
  let noted = null;
  for (let n = 0; n < 3; n += 1) {
    await sql`insert into provisioning.audit_log (id, at, principal, action, outcome)
      values (${uuidv7()}, now() - interval '2 days', 'ann', 'server.create', 'allowed')`.execute(separate.db);
    await sealAll(at);
    noted ??= await lastCheckpoint(separate.db, installation);
  }
  await sql.raw(FORGED_RETENTION(2)).execute(separate.db);
  await sql`delete from provisioning.audit_log where position <= 2`.execute(separate.db);
  await sql`delete from provisioning.audit_checkpoints where position < 2`.execute(separate.db);
  const lines = await readAuditLines(separate.db, installation, 0, 100);
  const judge = (given: AuditLine[]) => {
    const verifier = createVerifier({ key, noted });
    for (const line of given) verifier.take(line);
    return verifier.end().problem;
  };
  assert.match(judge(lines) ?? '', /rows up to 2 were deleted was not made with the key/);
  const without = lines.filter(({ kind }) => kind !== 'retention');
  assert.match(judge(without) ?? '', /Rows 1 to 2 are gone before checkpoint 2, and nothing says why/);
});

test('a line may come twice, but not with the position and hash of another', async () => {
  await using separate = await createTestDatabase();
  for (let n = 0; n < 3; n += 1) {
    await sql`insert into provisioning.audit_log (id, principal, action, outcome)
      select gen_random_uuid(), 'ann', 'server.create', 'allowed' from generate_series(1, 2)`.execute(separate.db);
    await sealAll({ ...replica(), db: separate.db });
  }
  const lines = await readAuditLines(separate.db, installation, 0, 100);
  const judge = (given: AuditLine[], from?: { position: number; hash: string }) => {
    const verifier = createVerifier({ key, noted: null, ...(from === undefined ? {} : { from }) });
    for (const line of given) verifier.take(line);
    return verifier.end().problem;
  };
  assert.deepEqual(
    [judge(lines), judge([...lines.slice(0, 6), ...lines]), judge([...lines, ...lines])],
    [null, null, null],
  );
  const [first, second] = lines;
  assert.ok(first?.kind === 'row' && second?.kind === 'row');
  const forged = [
    { ...second, sealed: '["anything"]' },
    { ...second, principal: 'mallory' },
    { ...second, position: 1 },
    { ...second, hash: first.hash },
  ];
  for (const row of forged) {
    assert.notEqual(judge([...lines.slice(0, 3), row, ...lines.slice(3)]), null);
    // And where an export goes on from a checkpoint whose row is not in it.
    assert.notEqual(judge([row, ...lines.slice(2)], { position: 2, hash: second.hash }), null);
  }
  const checkpoint = lines[2];
  assert.ok(checkpoint?.kind === 'checkpoint');
  assert.notEqual(
    judge([...lines.slice(0, 3), { ...checkpoint, at: lines[5]?.kind === 'checkpoint' ? lines[5].at : '' }]),
    null,
  );
});

test('a replica notices that what it has seen is gone, also after others have sealed', async () => {
  await using separate = await createTestDatabase();
  const add = () =>
    sql`insert into provisioning.audit_log (id, principal, action, outcome)
      values (${uuidv7()}, 'ann', 'server.create', 'allowed')`.execute(separate.db);
  const [sealing, watching] = [0, 1].map((): Sealing => ({ ...replica(), db: separate.db }));
  assert.ok(sealing !== undefined && watching !== undefined);
  for (let n = 0; n < 3; n += 1) {
    await add();
    await sealBatch(sealing);
    assert.deepEqual(await sealBatch(watching), { sealed: 0, broken: null });
  }
  for (const table of ['audit_log', 'audit_checkpoints']) {
    await sql.raw(`alter table provisioning.${table} disable trigger user`).execute(separate.db);
    await sql.raw(`delete from provisioning.${table} where position = 3`).execute(separate.db);
  }
  for (let n = 0; n < 2; n += 1) {
    await add();
    // It was started anew and has seen nothing.
    assert.equal((await sealBatch({ ...sealing, seen: null })).broken, null);
  }
  // The number is there again, but not what it was.
  assert.match((await sealBatch(watching)).broken ?? '', /checkpoint 3 was exchanged/);
  assert.equal((await sealBatch(watching)).broken, null, 'it is told once');
});

test('rows that were cut off the end show against a checkpoint noted elsewhere', async () => {
  const separate = await createTestDatabase();
  try {
    const at: Sealing = { ...replica(), db: separate.db };
    for (let n = 0; n < 3; n += 1) {
      await sql`insert into provisioning.audit_log (id, principal, action, outcome)
        values (${uuidv7()}, 'ann', 'server.create', 'allowed')`.execute(separate.db);
      await sealAll(at);
    }
    const noted = await lastCheckpoint(separate.db, installation);
    await sql.raw('alter table provisioning.audit_log disable trigger user').execute(separate.db);
    await sql.raw('alter table provisioning.audit_checkpoints disable trigger user').execute(separate.db);
    await sql`delete from provisioning.audit_log where position = 3`.execute(separate.db);
    await sql`delete from provisioning.audit_checkpoints where position = 3`.execute(separate.db);
    const lines = await readAuditLines(separate.db, installation, 0, 100);
    const without = createVerifier({ key, noted: null });
    for (const line of lines) without.take(line);
    assert.equal(without.end().ok, true, 'nothing inside shows it');
    const compared = createVerifier({ key, noted });
    for (const line of lines) compared.take(line);
    assert.match(compared.end().problem ?? '', /ends at row 2, but the noted checkpoint vouches for row 3/);
  } finally {
    await separate.close();
  }
});

test('a log that was chained by an earlier version goes on, and says from where checkpoints vouch', async () => {
  const separate = await createTestDatabase();
  try {
    const at: Sealing = { ...replica(), db: separate.db };
    const add = (n: number) =>
      sql`
      insert into provisioning.audit_log (id, principal, action, outcome)
      select gen_random_uuid(), 'ann', 'server.create', 'allowed' from generate_series(1, ${n}::int)`.execute(
        separate.db,
      );
    await add(3);
    await sealAll(at);
    // As the earlier version left it, and as one of its replicas goes on during an upgrade.
    await sql.raw('alter table provisioning.audit_checkpoints disable trigger user').execute(separate.db);
    await sql`delete from provisioning.audit_checkpoints`.execute(separate.db);
    await add(2);
    assert.deepEqual(await sealAll({ ...at, seen: null }), { rows: 2, broken: null });
    const verifier = createVerifier({ key, noted: null });
    for (const line of await readAuditLines(separate.db, installation, 0, 100)) verifier.take(line);
    const { ok, vouched_from: from } = verifier.end();
    assert.deepEqual({ ok, from }, { ok: true, from: 4 });
  } finally {
    await separate.close();
  }
});

test('the sealer seals by itself and stops', async () => {
  await write(1);
  const fail = (message: unknown) => assert.fail(String(message));
  const last = await lastCheckpoint(db, installation);
  assert.ok(last !== null);
  const sealer = startAuditSealer({ db, installation, key, logger: { warn: fail, error: fail } });
  const unsealed = async () =>
    (await sql<{ n: number }>`select count(*)::int as n from provisioning.audit_log where position is null`.execute(db))
      .rows[0]?.n;
  for (let tries = 0; tries < 100 && (await unsealed()) !== 0; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(await unsealed(), 0);
  await sealer.stop();
});
