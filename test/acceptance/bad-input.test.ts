/** Bad input is told what is wrong with it: a clear 4xx in the reference's format, never a 5xx, and nothing changed. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { countRows, type ErrorBody, expectError, expectOk, startInstallation } from '../support/acceptance.ts';
import { readEndpoints, sampleOf } from '../support/openapi.ts';
import { sendBytes, sendRaw } from '../support/raw.ts';
import { type Answer, serverRequest } from '../support/server.ts';

const BODY_LIMIT = 65_536;
const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-roots-'));
const outside = await mkdtemp(path.join(tmpdir(), 'provisioning-test-outside-'));
// Nothing is carried out in this installation, so that whatever changes was changed by a request.
const installation = await startInstallation({ ROLE: 'api', WORKSPACE_ROOTS: root, BODY_LIMIT: String(BODY_LIMIT) });
after(async () => {
  await installation.close();
  for (const directory of [root, outside]) await rm(directory, { recursive: true, force: true });
});
const { url, admin } = installation.server;
const authorization = `Bearer ${admin.token}`;
const json = { authorization, 'content-type': 'application/json' };

const LISTS = ['/v1/servers', '/v1/operations', '/v1/workspaces', '/v1/users', '/v1/tokens'];
const counts = () => Promise.all(LISTS.map((list) => countRows(admin, list)));
let before: number[] = [];
beforeEach(async () => {
  before = await counts();
});
afterEach(async () => assert.deepEqual(await counts(), before, 'something was changed'));

const create = (overrides: Record<string, unknown>) =>
  admin.request('POST', '/v1/servers/create', serverRequest('bad', overrides));
const fields = ({ details }: ErrorBody) => (details as { field: string }[]).map(({ field }) => field);

test('malformed JSON is 400 with what the parser says', async () => {
  const broken = [
    '{',
    '{"workspace":',
    "{'workspace':'default'}",
    '{"a":1,}',
    '[1',
    'null x',
    '"',
    'NaN',
    '\u0000',
    '{}{}',
  ];
  for (const body of [...broken, Buffer.from([0x7b, 0xff, 0xfe, 0x7d])]) {
    const answer = await sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers: json, body });
    assert.match(expectError(answer, 400, 'MALFORMED_JSON').message, /JSON/);
  }
  for (const body of ['{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"admin":true}}}']) {
    expectError(await sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers: json, body }), 400);
  }
});

test('a body in another encoding than UTF-8 is 400 saying so, not stored with other characters', async () => {
  const user = '{"username":"latin","password":"a p\u00e4ssword-12"}';
  for (const body of [
    Buffer.from(user, 'latin1'),
    Buffer.from(user, 'utf16le'),
    Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]),
  ]) {
    const answer = await sendRaw(url, { method: 'POST', path: '/v1/users', headers: json, body });
    assert.ok([/UTF-8/, /JSON/].every((word) => word.test(expectError(answer, 400, 'MALFORMED_JSON').message)));
  }
});

test('a body that is no object, or has a field of the wrong type, is 400 naming it', async () => {
  for (const body of [null, true, 0, 'text', [], [serverRequest('bad')]]) {
    const answer = await admin.request('POST', '/v1/servers/create', JSON.stringify(body));
    assert.deepEqual(fields(expectError(answer, 400, 'VALIDATION_ERROR')), ['body']);
  }
  for (const field of ['workspace', 'provider', 'plan', 'hostname', 'zone', 'tags', 'check_mode']) {
    for (const value of [null, 7, -1.5, {}, { $ne: 'x' }, [['x']], 'true '.repeat(100)]) {
      const answer = await create({ [field]: value });
      assert.match(fields(expectError(answer, 400))[0] ?? '', new RegExp(`^${field}`), JSON.stringify(value));
    }
  }
  assert.deepEqual(fields(expectError(await create({ tags: ['ok', 7] }), 400)), ['tags[1]']);
});

test('a field or parameter that an endpoint does not know is 400 naming it, on every endpoint', async () => {
  for (const { method, path: route, access, body } of await readEndpoints(admin)) {
    if (!route.startsWith('/v1/') || access === 'public') continue;
    const target = route.replaceAll(/\{\w+\}/g, 'x');
    const good = body === null ? undefined : sampleOf(body);
    const query = await admin.request(method, `${target}?chek_mode=true`, good);
    assert.deepEqual(fields(expectError(query, 400)), ['chek_mode'], `${method} ${route}`);
    if (method === 'GET') continue;
    const answer = await admin.request(method, target, { ...(good as object | undefined), chek_mode: true });
    assert.deepEqual(fields(expectError(answer, 400)), ['chek_mode'], `${method} ${route}`);
  }
});

test('a body past the limit is 413, with a length or without, and the server goes on', async () => {
  const large = JSON.stringify(serverRequest('x'.repeat(BODY_LIMIT)));
  const request = { method: 'POST', path: '/v1/servers/create', body: large };
  expectError(await sendRaw(url, { ...request, headers: { ...json, 'transfer-encoding': 'chunked' } }), 413);
  expectError(await sendRaw(url, { ...request, headers: json }), 413, 'PAYLOAD_TOO_LARGE');
  const announced = `POST /v1/servers/create HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n`;
  expectError(await sendBytes(url, announced), 413);
});

test('a compressed body is 415 naming its encoding', async () => {
  const plain = JSON.stringify({ chek_mode: true });
  const send = (encoding: string, body: string | Buffer) => {
    const headers = { ...json, 'content-encoding': encoding };
    return sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers, body });
  };
  for (const encoding of ['gzip', 'br']) {
    const problem = expectError(await send(encoding, gzipSync(plain)), 415, 'UNSUPPORTED_MEDIA_TYPE');
    assert.match(problem.message, new RegExp(`Content-Encoding: ${encoding}`));
  }
  expectError(await send('Identity', plain), 400, 'VALIDATION_ERROR');
});

test('deep nesting is 400', async () => {
  for (const depth of [65, 1_000, 10_000]) {
    for (const body of ['['.repeat(depth) + ']'.repeat(depth), '{"a":'.repeat(depth) + 1 + '}'.repeat(depth)]) {
      const answer = await admin.request('POST', '/v1/servers/create', body);
      assert.match(expectError(answer, 400).message, /deep/);
      const { status } = await admin.request('POST', '/v1/auth/logout', body);
      assert.equal(status, 400);
    }
  }
});

test('a name that an object has twice is 400 naming it, and nothing is carried out', async () => {
  const server = JSON.stringify(serverRequest('bad')).slice(1, -1);
  const deep = '['.repeat(1_000) + ']'.repeat(1_000);
  for (const [body, field] of [
    [`{${server},"check_mode":true,"check_mode":false}`, 'check_mode'],
    [`{"check_mode":true,${server},"check\\u005fmode" : false}`, 'check_mode'],
    [`\ufeff{"a":[{"b":"}","\\"":"\\\\"},{"b":{"x":1,"y":[],"x":2}}]}`, 'a[1].b.x'],
    ['[[],[{"":1,"":1}]]', '[1][0].'],
    [`{"a":${deep},"a":1}`, 'body'],
  ] as const) {
    const answer = await sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers: json, body });
    assert.deepEqual(fields(expectError(answer, 400, 'VALIDATION_ERROR')), [field], body);
  }
  // The same names in different objects, and as values.
  const body = '{"name":"name","config":[{"name":"name"},{"name":"name"}],"x":["name","name"]}';
  const answer = await sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers: json, body });
  assert.doesNotMatch(expectError(answer, 400).message, /more than once/);
});

test('half of a surrogate pair, a query that is not UTF-8, and names that objects inherit are 400 in words', async () => {
  const send = (body: string) => sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers: json, body });
  for (const [body, field, words] of [
    ['{"tags":["fine \\ud83d\\ude00","\\ud83d"]}', 'tags[1]', /surrogate/],
    ['{"\\udc00":1}', 'body', /surrogate/],
    ['{"config":{"__proto__":{"x":1}}}', 'body', /__proto__/],
  ] as const) {
    const problem = expectError(await send(body), 400, 'VALIDATION_ERROR');
    assert.deepEqual(fields(problem), [field], body);
    assert.match(problem.message, words);
  }
  for (const query of ['hostname=%ff', 'hostname=100%', 'hostname=%c3%28', 'per_page=1&hostname=%ed%a0%80']) {
    const answer = await sendRaw(url, { method: 'GET', path: `/v1/servers?${query}`, headers: json });
    assert.match(expectError(answer, 400, 'VALIDATION_ERROR').message, /query: is not UTF-8/, query);
  }
  const fine = await sendRaw(url, { method: 'GET', path: '/v1/servers?hostname=%C3%BC%25', headers: json });
  assert.equal(fine.status, 200);
});

test('a number that would not be kept exactly is 400 naming it, and that a string would be', async () => {
  const send = (body: string) => sendRaw(url, { method: 'POST', path: '/v1/servers/create', headers: json, body });
  for (const number of [
    '1909198862420847982',
    '-9007199254740992',
    '9007199254740993.0',
    '1e400',
    '-1E+400',
    '1e-400',
    '3.14159265358979323846',
  ]) {
    for (const [body, field] of [
      [`{"config":{"ids":[0, ${number} ]}}`, 'config.ids[1]'],
      [number, 'body'],
    ] as const) {
      const problem = expectError(await send(body), 400, 'VALIDATION_ERROR');
      assert.deepEqual(fields(problem), [field], body);
      assert.match(problem.message, /write it as a string/);
    }
  }
  for (const fine of [
    '9007199254740991',
    '-9007199254740991',
    '0.1',
    '1e15',
    '1e-300',
    '3.141592653589793',
    '0.30000000000000004',
    '1.50000000000000000000000',
    '"1909198862420847982"',
    '-0',
  ]) {
    const problem = expectError(await send(`{"n":[${fine},${fine}]}`), 400);
    assert.doesNotMatch(problem.message, /as a string/, fine);
  }
});

test('strings of all kinds of evil are 400 wherever a name is asked for', async () => {
  const evil = [
    '',
    ' ',
    '\u0000',
    'web\u000001',
    'web-01\n',
    "'; drop table provisioning.servers; --",
    "' or '1'='1",
    '$(reboot)',
    '../../etc/passwd',
    '..%2f..%2fetc',
    'wéb',
    '漢字',
    'xn--\u202e',
    '\ud800',
    '𝕨𝕖𝕓',
    'web_01',
    'WEB-01',
    '-web',
    `${'a.'.repeat(127)}a`,
    'a'.repeat(254),
  ];
  for (const text of evil) {
    for (const field of ['hostname', 'workspace', 'provider', 'plan', 'zone']) {
      const answer = await create({ [field]: text });
      assert.deepEqual(fields(expectError(answer, 400)), [field], JSON.stringify(text));
    }
    if (text !== 'web_01') {
      const user = await admin.request('POST', '/v1/users', { username: text, password: 'a good password' });
      assert.deepEqual(fields(expectError(user, 400)), ['username'], JSON.stringify(text));
    }
    const workspace = await admin.request('POST', '/v1/workspaces/create', { name: text });
    assert.deepEqual(fields(expectError(workspace, 400)), ['name'], JSON.stringify(text));
    const path = encodeURIComponent(text.toWellFormed());
    for (const route of ['/v1/servers/', '/v1/operations/', '/v1/workspaces/', '/v1/users/', '/v1/providers/x/']) {
      const answer = await sendRaw(url, { method: 'GET', path: `${route}${path}`, headers: { authorization } });
      if (text !== '') assert.ok([400, 404].includes(answer.status), `${route}${path}: ${answer.status}`);
      if (answer.status >= 400) expectError(answer, answer.status);
    }
    for (const list of [
      '/v1/servers?hostname=',
      '/v1/operations?kind=',
      '/v1/users?username=',
      '/v1/audit?principal=',
    ]) {
      const answer = await admin.request<unknown[]>('GET', `${list}${path}`);
      if (answer.status === 200) assert.deepEqual(answer.body, []);
      else expectError(answer, 400);
    }
  }
});

test('a hostname is labels of lower-case letters, digits and inner hyphens, at most 253 characters', async () => {
  const long = `${'a'.repeat(63)}.`.repeat(3);
  for (const hostname of [
    'web-',
    'a..b',
    '.a',
    'a.',
    'a.-b',
    `${'a'.repeat(64)}.example`,
    `${long}${'a'.repeat(62)}`,
  ]) {
    assert.deepEqual(fields(expectError(await create({ hostname }), 400)), ['hostname'], hostname);
  }
  const { details } = expectError(await create({ hostname: 'Web_01' }), 400);
  assert.match(JSON.stringify(details), /does not fit\. Lower-case letters, digits and hyphens/);
});

test('raw paths that are no paths are 400 or 404', async () => {
  for (const raw of [
    '/v1/servers/%',
    '/v1/servers/%ff',
    '/v1/servers/%00',
    '/v1/servers/%2e%2e%2fusers',
    '//v1//servers',
    '/v1/../v1/users/x',
    '/..',
    '/v1/servers/../../../../etc/passwd',
    `/v1/servers/${'x'.repeat(5_000)}`,
    '/v1/servers;x=1',
    '/v1/servers/\x7f',
  ]) {
    const answer = await sendRaw(url, { method: 'GET', path: raw, headers: { authorization } });
    assert.ok([400, 404, 414].includes(answer.status), `${raw}: ${answer.status}`);
    expectError(answer, answer.status);
  }
});

test('a method that a path does not take is 405 with those it takes', async () => {
  for (const [method, path, allow] of [
    ['PUT', '/v1/servers', 'GET, HEAD'],
    ['PATCH', '/v1/operations/x/cancel', 'POST'],
    ['PROPFIND', '/v1/servers', 'GET, HEAD'],
    ['DELETE', '/health', 'GET, HEAD'],
  ] as const) {
    const answer = await sendRaw(url, { method, path, headers: { authorization } });
    expectError(answer, 405, 'METHOD_NOT_ALLOWED');
    assert.equal(answer.headers.get('allow')?.split(', ').sort().join(', '), allow, `${method} ${path}`);
  }
});

test('a path with a slash too many is 404 for every method', async () => {
  for (const path of ['/v1/servers/', '/v1/servers//status', '/v1/operations/', '/v1/workspaces/default/', '/v1/x/']) {
    for (const method of ['GET', 'DELETE', 'POST', 'PUT']) {
      const answer = await sendRaw(url, { method, path, headers: { authorization } });
      assert.match(expectError(answer, 404, 'NOT_FOUND').message, /no endpoint/, `${method} ${path}`);
    }
  }
});

test('what is no HTTP request, or has headers without end, is refused in the same format', async () => {
  expectError(await sendBytes(url, 'hello\r\n\r\n'), 400, 'BAD_REQUEST');
  expectError(await sendBytes(url, Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])), 400, 'BAD_REQUEST');
  expectError(await sendBytes(url, `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`), 431);
  expectError(
    await sendBytes(
      url,
      'POST /v1/servers/create HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n',
    ),
    400,
  );
});

test('what Node refuses by itself is refused in the same format', async () => {
  const ask = (line: string, ...headers: string[]) =>
    sendBytes(url, `${[line, ...headers, 'connection: close'].join('\r\n')}\r\n\r\n`);
  for (const path of ['/health/live', '/v1/servers', '/nowhere']) {
    assert.match(expectError(await ask(`GET ${path} HTTP/1.1`), 400, 'BAD_REQUEST').message, /Host header.*has none/);
    expectError(await ask(`GET ${path} HTTP/1.1`, 'host: a', 'host: b'), 400, 'BAD_REQUEST');
  }
  assert.equal((await ask('GET /health/live HTTP/1.0')).status, 200);
  const expectation = expectError(await ask('POST /v1/servers/create HTTP/1.1', 'host: x', 'expect: foo'), 417);
  assert.match(expectation.message, /"Expect: foo" is not supported/);
  expectError(await ask('CONNECT example.com:443 HTTP/1.1', 'host: example.com:443'), 405, 'METHOD_NOT_ALLOWED');
  for (const method of ['TRACE', 'PROPFIND', 'PURGE', 'OPTIONS'])
    expectError(await ask(`${method} /v1/servers HTTP/1.1`, 'host: x'), 405, 'METHOD_NOT_ALLOWED');
  expectError(await ask('OPTIONS * HTTP/1.1', 'host: x'), 405, 'METHOD_NOT_ALLOWED');
  expectError(await ask('NOSUCH / HTTP/1.1', 'host: x'), 400, 'BAD_REQUEST');
  expectError(await ask('GET / HTTP/3.7', 'host: x'), 400, 'BAD_REQUEST');
  assert.equal((await ask('GET /health/live HTTP/1.1', 'host: x', 'upgrade: websocket')).status, 200);
});

test('an Idempotency-Key that is none is 400', async () => {
  for (const key of ['', ' ', 'x'.repeat(256), 'sch\u00f6n', 'a b']) {
    const answer = await sendRaw(url, {
      method: 'POST',
      path: '/v1/servers/create',
      headers: { ...json, 'idempotency-key': key },
      body: JSON.stringify(serverRequest('bad-key')),
    });
    assert.deepEqual(fields(expectError(answer, 400)), ['Idempotency-Key'], JSON.stringify(key));
  }
});

test('a workspace path cannot leave the roots: "..", links, other places, files in the way', async () => {
  await mkdir(path.join(root, 'inside'));
  await writeFile(path.join(root, 'file'), '');
  await symlink(outside, path.join(root, 'link'));
  await symlink('/', path.join(root, 'slash'));
  await symlink(path.join(root, 'loop'), path.join(root, 'loop'));
  await symlink(path.join(outside, 'missing'), path.join(root, 'dangling'));
  const places = [
    `${root}/../escaped`,
    `${root}/inside/../../escaped`,
    `${root}/./../escaped`,
    root,
    `${root}/`,
    '/',
    '/etc',
    `${outside}/x`,
    `${root}-sibling/x`,
    'relative',
    '~/x',
    '',
    `${root}/link/x`,
    `${root}/link`,
    `${root}/slash/etc`,
    `${root}/loop/x`,
    `${root}/dangling`,
    `${root}/dangling/x`,
    `${root}/file`,
    `${root}/file/x`,
    `${root}/nul\u0000byte`,
    `${root}/${'x'.repeat(300)}`,
    `${root}/${'x/'.repeat(2_000)}`,
  ];
  for (const place of places) {
    const answer: Answer = await admin.request('POST', '/v1/workspaces/create', { name: 'escape', path: place });
    assert.deepEqual(fields(expectError(answer, 400, 'VALIDATION_ERROR')), ['path'], place);
  }
  assert.deepEqual(await readdir(outside), []);
  assert.deepEqual((await readdir(root)).sort(), ['dangling', 'default', 'file', 'inside', 'link', 'loop', 'slash']);
  expectOk(await admin.request('GET', '/v1/workspaces/default'));
});
