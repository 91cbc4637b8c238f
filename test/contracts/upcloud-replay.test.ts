import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createAccount } from '../../src/providers/account.ts';
import { type CloudHttp, createCloudHttp } from '../../src/providers/cloud-http.ts';
import { ProviderError } from '../../src/providers/contract.ts';
import { readPlans, readTemplates, readZones } from '../../src/providers/upcloud/catalog.ts';
import { refusalError } from '../../src/providers/upcloud/errors.ts';
import { chooseAddress, readServer, toProviderServer } from '../../src/providers/upcloud/servers.ts';
import { fields, items } from '../../src/providers/wire.ts';
import { startFake } from '../clouds/fake.ts';

// Traffic of the real API, kept beside the repository: what a stand-in made from documentation cannot prove.
const RECORDINGS = fileURLToPath(new URL('../../../shared/fixtures/upcloud/', import.meta.url));

interface Exchange {
  method: string;
  path: string;
  requestBody: unknown;
  status: number;
  responseBody: unknown;
  contentType: string | null;
}

if (!existsSync(RECORDINGS)) {
  test('the recorded traffic of UpCloud', { skip: 'skipped: ../shared/fixtures/upcloud is absent' }, () => {});
} else {
  describe('the recorded traffic of UpCloud', () => {
    const files = readdirSync(RECORDINGS);
    test('is all of a kind that is replayed here', () => {
      assert.deepEqual(
        files.filter((name) => !name.endsWith('.json')),
        [],
      );
      assert.ok(files.length > 0);
    });
    for (const file of files) {
      const exchanges: Exchange[] = JSON.parse(readFileSync(`${RECORDINGS}${file}`, 'utf8'));
      test(`${file} holds exchanges`, () => assert.ok(exchanges.length > 0));
      for (const [place, exchange] of exchanges.entries()) {
        test(`${file} ${place}: ${exchange.method} ${exchange.path}`, () => replay(exchange));
      }
    }
  });
}

/** Sends the recorded request through the client to a server that answers as recorded, and judges what is read. */
async function replay(exchange: Exchange): Promise<void> {
  await using server = await startFake({}, () => answerOf(exchange), {
    changes: ({ method }) => method !== 'GET',
    throttled: { status: 429 },
    serverError: { status: 500 },
  });
  const account = createAccount({ name: 'upcloud', limit: { calls: 6_000, perSeconds: 60 } });
  const http = createCloudHttp({
    endpoint: server.endpoint,
    headers: { authorization: 'Bearer replayed-token' },
    secrets: ['replayed-token'],
    account,
    refusal: (what, answer) => refusalError(what, answer, ['replayed-token']),
  });
  try {
    const body = await send(http, exchange);
    assert.ok(exchange.status < 300, 'an error was read as a success');
    judge(exchange, body);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    judgeError(exchange, error);
  } finally {
    account.close();
  }
  assert.equal(server.calls[0]?.line, `${exchange.method} ${exchange.path}`);
}

function answerOf({ status, responseBody, contentType }: Exchange) {
  return { status, body: responseBody ?? undefined, contentType: contentType ?? undefined };
}

function send(http: CloudHttp, { method, path, requestBody }: Exchange): Promise<unknown> {
  if (method === 'GET') return http.read('replay', path);
  return http.change('replay', method, path, requestBody ?? undefined, { operationId: 'replay', guard: () => {} });
}

function judge({ method, path, responseBody, status }: Exchange, body: unknown): void {
  assert.deepEqual(body, responseBody);
  if (path === '/1.3/plan') {
    const plan = readPlans(body, new Map()).find(({ name }) => name === '2xCPU-4GB');
    assert.deepEqual([plan?.cpus, plan?.memory_mb, plan?.storage_gb, plan?.tier], [2, 4096, 80, 'maxiops']);
  } else if (path === '/1.3/zone') {
    const names = readZones(body).map(({ name }) => name);
    assert.ok(names.includes('de-fra1') && !names.includes('uk-tst1'));
  } else if (path === '/1.3/storage/template') {
    const neutral = readTemplates(body).flatMap((template) => template.neutral ?? []);
    assert.deepEqual(
      ['debian-10', 'ubuntu-20.04', 'centos-8'].filter((name) => !neutral.includes(name)),
      [],
    );
    assert.ok(!neutral.some((name) => /windows|plesk/.test(name)));
  } else if (path === '/1.3/ip_address') {
    const rows = items(fields(fields(body).ip_addresses).ip_address) ?? [];
    for (const [server, addresses] of Map.groupBy(rows, (row) => String(row.server))) {
      assert.match(chooseAddress(addresses) ?? '', /^94\.237\./, server);
    }
  } else if (path.startsWith('/1.3/ip_address/')) {
    const address = fields(fields(body).ip_address);
    assert.equal(chooseAddress([address]), address.address);
  } else if (path === '/1.3/server' && method === 'GET') {
    const servers = (items(fields(fields(body).servers).server) ?? []).map((server) => readServer(server));
    assert.deepEqual(
      servers.map((server) => server && toProviderServer(server).status),
      ['running', 'stopped'],
    );
  } else if (method === 'DELETE') {
    assert.equal(status, 204);
  } else if (path === '/1.3/storage/private') {
    assert.ok((items(fields(fields(body).storages).storage) ?? []).length > 0);
  } else {
    judgeServer(body);
  }
}

function judgeServer(body: unknown): void {
  const raw = fields(fields(body).server);
  const server = readServer(raw);
  assert.ok(server);
  const seen = toProviderServer(server);
  assert.equal(seen.status, { started: 'running', stopped: 'stopped', maintenance: 'starting' }[server.state]);
  assert.match(seen.ip_address ?? '', /^94\.237\./);
  assert.equal(seen.operation_id, null);
  assert.ok(seen.tags?.includes('managedBy=upcloud-sdk-integration-test'));
  assert.ok(!JSON.stringify(server).includes('REDACTED'), 'a password was read');
}

const ERRORS: Record<string, { code: string; own: RegExp }> = {
  '400': { code: 'INVALID_REQUEST', own: /^(SERVER_INVALID|INVALID_REQUEST)$/ },
  '401': { code: 'AUTHENTICATION_FAILED', own: /^AUTHENTICATION_(REQUIRED|FAILED)$/ },
  '404': { code: 'NOT_FOUND', own: /^(SERVER|RESOURCE)_NOT_FOUND$/ },
};

function judgeError({ status }: Exchange, error: ProviderError): void {
  const expected = ERRORS[String(status)];
  assert.ok(expected, `status ${status} became ${error.code}: ${error.message}`);
  assert.equal(error.code, expected.code);
  assert.equal(error.retryable, false);
  assert.match(String(error.details.provider_code), expected.own);
  assert.ok(error.message.length > 20);
}
