import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { type AuditLine, createVerifier } from '../documents/audit-chain.ts';
import { readAuditDestination } from './audit-destination.ts';
import { type AuditExport, deleteOld, exportBatch } from './audit-export.ts';
import { readAuditLines } from './audit-log.ts';
import { sealBatch } from './audit-sealer.ts';

const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-audit-'));
after(() => rm(directory, { recursive: true, force: true }));

const installation = 'an installation';
const key = randomBytes(32);

async function addRows({ db }: TestDatabase, count: number, details = '{}'): Promise<void> {
  await sql`
    insert into provisioning.audit_log (id, at, principal, action, outcome, details)
    select gen_random_uuid(), now() - interval '2 days', 'ann', 'server.create', 'denied', ${details}::jsonb from generate_series(1, ${count}::int)`.execute(
    db,
  );
  await sealBatch({ db, installation, key, seen: null });
}

function exporting({ db }: TestDatabase, destination: string): AuditExport {
  return { db, installation, key, destination: readAuditDestination(destination, 'a token'), retentionDays: 0 };
}

/** Until nothing is left. @returns rows delivered. */
async function exportAll(options: AuditExport): Promise<number> {
  let total = 0;
  for (let more = true; more; ) {
    const { rows, broken } = await exportBatch(options);
    assert.equal(broken, null);
    total += rows;
    more = rows > 0;
  }
  return total;
}

const parse = (text: string): AuditLine[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AuditLine);

function assertWhole(lines: AuditLine[], rows: number): void {
  const verifier = createVerifier({ key, noted: null });
  for (const line of lines) verifier.take(line);
  const { ok, problem, rows: seen, judged_by: judge } = verifier.end();
  assert.deepEqual({ ok, problem, seen, judge }, { ok: true, problem: null, seen: rows, judge: 'key' });
}

test('to a file: whole lines, whatever a crash left, and a batch that was not noted as delivered is repeated', async () => {
  await using database = await createTestDatabase();
  const file = path.join(directory, 'audit.jsonl');
  const options = exporting(database, `file://${file}`);
  await addRows(database, 3);
  assert.equal(await exportAll(options), 3);
  // A crash in the middle of a line, and before the delivery was noted.
  await appendFile(file, '{"kind":"row","position":4,"ha');
  await sql`delete from provisioning.audit_exports`.execute(database.db);
  await addRows(database, 2);
  assert.equal(await exportAll(options), 5);
  const lines = parse(await readFile(file, 'utf8'));
  assertWhole(lines, 5);
  assert.equal(lines.filter(({ kind }) => kind === 'checkpoint').length, 3);
});

test('to a webhook: JSON lines with the token; what is refused is sent again', async () => {
  await using database = await createTestDatabase();
  const bodies: string[] = [];
  const answers = [500, 200, 200];
  const server = createHttpServer((request, response) => {
    assert.equal(request.headers.authorization, 'Bearer a token');
    assert.equal(request.headers['content-type'], 'application/x-ndjson');
    let body = '';
    request.on('data', (chunk) => {
      body += String(chunk);
    });
    request.on('end', () => {
      const status = answers.shift() ?? 200;
      if (status === 200) bodies.push(body);
      response.writeHead(status).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const secret = 'canary-of-a-collector';
  const options = exporting(database, `http://127.0.0.1:${port}/services/${secret}?key=${secret}`);
  await addRows(database, 2);
  await assert.rejects(exportBatch(options), (error: Error) => {
    assert.match(error.message, /^http:\/\/127\.0\.0\.1:\d+ answered with status 500$/);
    return true;
  });
  assert.equal(await exportAll(options), 2);
  await addRows(database, 1);
  assert.equal(await exportAll(options), 1);
  assertWhole(parse(bodies.join('')), 3);
  // What stands in the URL of a collector is often its password.
  assert.equal(await deleteOld(options), 2);
  await addRows(database, 1);
  await exportAll(options);
  const { rows } = await sql<{ kept: string }>`
    select json_build_array((select json_agg(e) from provisioning.audit_exports e),
      (select json_agg(r) from provisioning.audit_retention r), (select json_agg(l) from provisioning.audit_log l))::text
      as kept`.execute(database.db);
  for (const text of [rows[0]?.kept ?? secret, options.destination.name, bodies.join('')]) {
    assert.match(text, /127\.0\.0\.1/);
    assert.doesNotMatch(text, new RegExp(secret));
  }
  server.close();
});

/** What RFC 5424 says of a message, and what is ours in it. */
const SYSLOG =
  /^<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) provisioning - (audit|checkpoint) - \ufeff(\{.*\})$/s;

function readSyslog(message: string): AuditLine {
  const [, priority, at, , id, json = ''] = SYSLOG.exec(message) ?? [];
  const line = JSON.parse(json) as AuditLine;
  // Facility 13; a denied row is a warning, a checkpoint a notice.
  assert.equal(Number(priority), 13 * 8 + (line.kind === 'row' ? 4 : 5));
  assert.equal(id, line.kind === 'row' ? 'audit' : 'checkpoint');
  assert.equal(at, line.at);
  return line;
}

test('to syslog over TCP: octets counted; a connection that breaks is no delivery', async () => {
  await using database = await createTestDatabase();
  const received: Buffer[] = [];
  let broken = true;
  const server = createTcpServer((socket) => {
    if (broken) {
      broken = false;
      socket.resetAndDestroy();
      return;
    }
    socket.on('data', (chunk) => received.push(chunk));
    socket.on('end', () => socket.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const options = exporting(database, `syslog+tcp://127.0.0.1:${port}`);
  await addRows(database, 2, '{"text":"ä\\nb"}');
  await assert.rejects(exportBatch(options), /127\.0\.0\.1/);
  assert.equal(await exportAll(options), 2);
  const lines: AuditLine[] = [];
  for (let rest = Buffer.concat(received); rest.length > 0; ) {
    const space = rest.indexOf(' ');
    const length = Number(rest.subarray(0, space).toString());
    lines.push(readSyslog(rest.subarray(space + 1, space + 1 + length).toString()));
    rest = rest.subarray(space + 1 + length);
  }
  assertWhole(lines, 2);
  server.close();
});

test('to syslog over TCP: a server that closes without reading has received nothing', async () => {
  await using database = await createTestDatabase();
  await addRows(database, 400, JSON.stringify({ text: 'x'.repeat(2_000) }));
  const closes = [
    (socket: Socket) => socket.end(),
    (socket: Socket) => socket.destroy(),
    (socket: Socket) => setTimeout(() => socket.destroy(), 50),
  ];
  for (const close of closes) {
    const sockets: Socket[] = [];
    const server = createTcpServer({ pauseOnConnect: true }, (socket) => {
      sockets.push(socket.on('error', () => socket.destroy()));
      close(socket);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      const exported = exportBatch(exporting(database, `syslog+tcp://127.0.0.1:${port}`));
      await assert.rejects(exported, /127\.0\.0\.1 port \d+: /);
    } finally {
      server.close();
      for (const socket of sockets) socket.destroy();
    }
  }
});

test('to syslog over UDP: a datagram a line; a row that is too large goes without its details', async () => {
  await using database = await createTestDatabase();
  const socket = createSocket('udp4');
  const messages: string[] = [];
  socket.on('message', (message) => messages.push(message.toString()));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const options = exporting(database, `syslog+udp://127.0.0.1:${socket.address().port}`);
  await addRows(database, 1);
  await addRows(database, 1, JSON.stringify({ text: 'x'.repeat(20_000) }));
  await exportAll(options);
  while (messages.length < 4) await once(socket, 'message');
  const [first, , second] = messages.map(readSyslog);
  assert.deepEqual(first?.kind === 'row' && first.details, {});
  assert.deepEqual(second?.kind === 'row' && second.details, { shortened: true });
  socket.close();
  // Nobody listens any more: whether that is noticed is the network's affair, but it harms nobody.
  await once(socket, 'close');
  await addRows(database, 3);
  await exportBatch(options).catch((error: Error) => assert.match(error.message, /ECONNREFUSED/));
});

test('retention deletes only what has been exported, up to a checkpoint that vouches for the rest', async () => {
  await using database = await createTestDatabase();
  const { db } = database;
  const options = exporting(database, `file://${path.join(directory, 'retained.jsonl')}`);
  for (let n = 0; n < 4; n += 1) await addRows(database, 10);
  assert.equal(await deleteOld(options), 0, 'nothing has been exported');
  await exportAll(options);
  await addRows(database, 10);
  assert.equal(await deleteOld({ ...options, retentionDays: 1 }), 0, 'nothing is old enough');
  assert.equal(await deleteOld(options), 40);
  assert.equal(await deleteOld(options), 0);
  await addRows(database, 1);
  const left = await readAuditLines(db, installation, 0, 1_000);
  assert.deepEqual(
    left.slice(0, 2).map(({ kind }) => kind),
    ['retention', 'checkpoint'],
  );
  // The eleven rows, and the one that says what was deleted.
  assertWhole(left, 12);
  const told = left.find((line) => line.kind === 'row' && line.action === 'audit.retention');
  assert.deepEqual(told?.kind === 'row' && (told.details as { through: number }).through, 40);
  // Appended to what was exported before, the log has no gap.
  await exportAll(options);
  assertWhole(parse(await readFile(path.join(directory, 'retained.jsonl'), 'utf8')), 52);
});

test('rows that were exchanged after their export, and a false note of it, are found out and exported anew', async () => {
  await using database = await createTestDatabase();
  const { db } = database;
  const file = path.join(directory, 'exchanged.jsonl');
  const options = exporting(database, `file://${file}`);
  await addRows(database, 3);
  await exportAll(options);
  await addRows(database, 3);
  // A note without the key, so that the next rows are never exported, and are deleted when they are old.
  await sql`update provisioning.audit_exports
    set (position, hash) = (select position, hash from provisioning.audit_log where position = 6)`.execute(db);
  assert.equal(await deleteOld(options), 0);
  assert.match((await exportBatch(options)).broken ?? '', /was not noted by this installation/);
  await sealBatch({ db, installation, key, seen: null });
  assert.equal(await exportAll(options), 7);
  const lines = parse(await readFile(file, 'utf8'));
  assert.ok(lines.some((line) => line.kind === 'row' && line.action === 'audit.tampered'));
  // The row of the note is another one now.
  await sql`alter table provisioning.audit_log disable trigger user`.execute(db);
  await sql`update provisioning.audit_log set hash = sha256('another') where position = 7`.execute(db);
  assert.equal(await deleteOld(options), 0);
  assert.match((await exportBatch(options)).broken ?? '', /row 7 is not the one that was exported/);
});

test('destinations that cannot be are refused in words', () => {
  const refused = (text: string) => assert.throws(() => readAuditDestination(text, null), Error, text);
  for (const text of [
    'nowhere',
    'http://siem.example/',
    'ftp://x/',
    'https://user:secret@x.example/',
    'syslog+tcp:///x',
  ])
    refused(text);
  const { kind, port } = readAuditDestination('syslog+tls://[::1]', null) as { kind: string; port: number };
  assert.deepEqual({ kind, port }, { kind: 'syslog', port: 6514 });
});
