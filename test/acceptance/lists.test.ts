/** Lists: whole unless asked otherwise, in pages by number or cursor, filtered, sorted, and strict about what they know. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { askForServer, expectError, expectOk, type Server, startInstallation } from '../support/acceptance.ts';
import { readEndpoints } from '../support/openapi.ts';
import type { Answer, Operation } from '../support/server.ts';

const SERVERS = 120;
// Nothing is carried out here: the lists stay as they were made.
const installation = await startInstallation({ ROLE: 'api' });
after(() => installation.close());
const { admin } = installation.server;
const { pool } = installation.database;

expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'second' }));
for (let first = 0; first < SERVERS; first += 10) {
  await Promise.all(Array.from({ length: 10 }, (_, index) => makeOne(first + index)));
}
// Spread over days, some at the very same moment.
for (const table of ['servers', 'operations']) {
  await pool.query(`update provisioning.${table} t set created_at = timestamptz '2025-10-01T00:00:00Z' + n / 3 * interval '1 hour'
    from (select id, row_number() over (order by id) as n from provisioning.${table}) numbered where numbered.id = t.id`);
}
await pool.query("update provisioning.servers set status = 'running' where hostname like '%7'");

async function makeOne(number: number): Promise<void> {
  await askForServer(admin, `server-${String(number).padStart(3, '0')}`, {
    workspace: number % 4 === 0 ? 'second' : 'default',
    plan: number % 2 === 0 ? '1xCPU-2GB' : '2xCPU-4GB',
    zone: number % 5 === 0 ? 'us-nyc1' : 'de-fra1',
    tags: [`mod${number % 3}`, 'all'],
  });
}

const get = <T = Server>(route: string) => admin.request<T[]>('GET', route);
const whole = expectOk(await get('/v1/servers'));
const ids = (rows: { id: string }[]) => rows.map(({ id }) => id);

/** relation → path with query */
function linksOf(answer: Answer): Record<string, string> {
  const header = answer.headers.get('link') ?? '';
  return Object.fromEntries(
    [...header.matchAll(/<([^>]+)>; rel="(\w+)"/g)].map(([, target, relation]) => [relation, target]),
  );
}

/** All pages from this one on, and their rows. */
async function follow(route: string, relation: 'next' | 'prev'): Promise<Server[][]> {
  const pages: Server[][] = [];
  for (let next: string | undefined = route; next !== undefined; ) {
    const answer: Answer<Server[]> = await get(next);
    pages.push(expectOk(answer));
    next = linksOf(answer)[relation];
    assert.ok(pages.length < 100, 'the pages have no end');
  }
  return pages;
}

test('without paging parameters a list is one bare array of everything', async () => {
  const answer = await get('/v1/servers');
  assert.equal(expectOk(answer).length, SERVERS);
  assert.equal(answer.headers.get('link'), null);
  assert.equal(answer.headers.get('x-total-count'), null);
  assert.equal(expectOk(await get('/v1/operations')).length, SERVERS);
});

test('pages by number: every row once, in the order of the whole, with the total and links', async () => {
  const pages: Server[][] = [];
  for (let page = 1; page <= 4; page += 1) {
    const answer = await get(`/v1/servers?page=${page}&per_page=32`);
    pages.push(expectOk(answer));
    assert.equal(answer.headers.get('x-total-count'), String(SERVERS));
    const at = (number: number) => `/v1/servers?page=${number}&per_page=32`;
    assert.deepEqual(linksOf(answer), {
      first: at(1),
      ...(page > 1 ? { prev: at(page - 1) } : {}),
      ...(page < 4 ? { next: at(page + 1) } : {}),
      last: at(4),
    });
  }
  assert.deepEqual(
    pages.map(({ length }) => length),
    [32, 32, 32, 24],
  );
  assert.deepEqual(ids(pages.flat()), ids(whole));
  const past = await get('/v1/servers?page=5&per_page=32');
  assert.deepEqual(expectOk(past), []);
  assert.equal(linksOf(past).next, undefined);
  assert.equal(linksOf(past).prev, '/v1/servers?page=4&per_page=32');
});

test('the reference asks for ?page=1&per_page=20; page alone means 100 rows, per_page alone the first page', async () => {
  assert.deepEqual(ids(expectOk(await get('/v1/servers?page=1&per_page=20'))), ids(whole.slice(0, 20)));
  assert.deepEqual(ids(expectOk(await get('/v1/servers?page=2'))), ids(whole.slice(100)));
  assert.deepEqual(ids(expectOk(await get('/v1/servers?per_page=3'))), ids(whole.slice(0, 3)));
});

test('pages by cursor: forwards and backwards every row once; the total comes with the first', async () => {
  const forwards = await follow('/v1/servers?cursor=&per_page=32', 'next');
  assert.deepEqual(ids(forwards.flat()), ids(whole));
  const backwards = await follow('/v1/servers?cursor=last&per_page=32', 'prev');
  assert.deepEqual(ids(backwards.reverse().flat()), ids(whole));
  assert.equal((await get('/v1/servers?cursor=')).headers.get('x-total-count'), String(SERVERS));
  const descending = await follow('/v1/servers?cursor=&per_page=50&sort=-created_at', 'next');
  assert.deepEqual(ids(descending.flat()), ids(whole).reverse());
});

test('a cursor stays where it is while rows come and go', async () => {
  const filter = '&tag=moving';
  for (const number of [1, 2, 3, 4]) await askForServer(admin, `moving-${number}`, { tags: ['moving'] });
  const first = await get(`/v1/servers?cursor=&per_page=2&sort=hostname${filter}`);
  assert.deepEqual(
    expectOk(first).map(({ hostname }) => hostname),
    ['moving-1', 'moving-2'],
  );
  await pool.query("delete from provisioning.servers where hostname = 'moving-1'");
  await askForServer(admin, 'moving-0', { tags: ['moving'] });
  const second = await get(linksOf(first).next ?? '');
  assert.deepEqual(
    expectOk(second).map(({ hostname }) => hostname),
    ['moving-3', 'moving-4'],
  );
  const back = await get(linksOf(second).prev ?? '');
  assert.deepEqual(
    expectOk(back).map(({ hostname }) => hostname),
    ['moving-0', 'moving-2'],
  );
  await pool.query("delete from provisioning.servers where hostname like 'moving-%'");
});

test('filters: each alone and together, also in pages and their links', async () => {
  const cases: [string, (server: Server) => boolean][] = [
    ['status=running', ({ status }) => status === 'running'],
    ['workspace=second', ({ workspace }) => workspace === 'second'],
    ['provider=simulated', () => true],
    ['provider=upcloud', () => false],
    ['plan=1xCPU-2GB', ({ plan }) => plan === '1xCPU-2GB'],
    ['zone=us-nyc1', ({ zone }) => zone === 'us-nyc1'],
    ['hostname=server-042', ({ hostname }) => hostname === 'server-042'],
    ['tag=mod1', ({ tags }) => tags.includes('mod1')],
    ['tag=mod', () => false],
    ['created_after=2025-10-02', ({ created_at }) => created_at >= '2025-10-02T00:00:00Z'],
    ['created_after=2025-10-01T05:00:00Z', ({ created_at }) => created_at >= '2025-10-01T05:00:00Z'],
    ['created_before=2025-10-01T05:00:00Z', ({ created_at }) => created_at < '2025-10-01T05:00:00Z'],
    ['created_before=2025-10-01T07:00:00%2B02:00', ({ created_at }) => created_at < '2025-10-01T05:00:00Z'],
    [
      'workspace=second&tag=mod0&zone=de-fra1',
      (s) => s.workspace === 'second' && s.tags.includes('mod0') && s.zone === 'de-fra1',
    ],
  ];
  for (const [query, matches] of cases) {
    const wanted = whole.filter(matches);
    assert.deepEqual(ids(expectOk(await get(`/v1/servers?${query}`))), ids(wanted), query);
    const pages = await follow(`/v1/servers?${query}&cursor=&per_page=7`, 'next');
    assert.deepEqual(ids(pages.flat()), ids(wanted), query);
    const numbered = await get(`/v1/servers?${query}&page=1&per_page=7`);
    assert.equal(numbered.headers.get('x-total-count'), String(wanted.length), query);
  }
});

test('operations: by status, workspace, kind, resource, creator and time, newest first', async () => {
  const all = expectOk(await get<Operation & Record<string, string>>('/v1/operations'));
  const times = all.map(({ created_at }) => created_at);
  assert.deepEqual(times, [...times].sort().reverse());
  const [some] = all;
  for (const [query, matches] of [
    ['status=pending', ({ status }) => status === 'pending'],
    ['status=completed', ({ status }) => status === 'completed'],
    ['workspace=second', ({ workspace }) => workspace === 'second'],
    ['kind=server.create', ({ kind }) => kind === 'server.create'],
    ['kind=server.delete', ({ kind }) => kind === 'server.delete'],
    [`resource=${some?.resource}`, ({ resource }) => resource === some?.resource],
    ['created_by=admin', ({ created_by }) => created_by === 'admin'],
    ['created_after=2025-10-02', ({ created_at }) => created_at >= '2025-10-02'],
  ] as [string, (operation: Record<string, unknown> & Operation) => boolean][]) {
    assert.deepEqual(ids(expectOk(await get(`/v1/operations?${query}`))), ids(all.filter(matches)), query);
  }
});

test('sort: by every field a list offers, both ways, ties broken the same way every time', async () => {
  const byName = [...whole].sort((a, b) => (a.hostname < b.hostname ? -1 : 1));
  assert.deepEqual(ids(expectOk(await get('/v1/servers?sort=hostname'))), ids(byName));
  assert.deepEqual(ids(expectOk(await get('/v1/servers?sort=-hostname'))), ids(byName).reverse());
  assert.deepEqual(ids(expectOk(await get('/v1/servers?sort=created_at'))), ids(whole));
  assert.deepEqual(ids(expectOk(await get('/v1/servers?sort=-created_at'))), ids(whole).reverse());
});

/** A row of the audit log gets its position a moment later. */
const withoutPosition = (row: unknown) => ({ ...(row as object), position: undefined });

test('every list knows page, per_page, cursor and sort, and refuses what it does not know', async () => {
  const lists = (await readEndpoints(admin)).filter(({ parameters }) =>
    parameters.some(({ name }) => name === 'cursor'),
  );
  const paths = lists.map(({ path }) => path);
  for (const path of ['/v1/servers', '/v1/operations', '/v1/workspaces', '/v1/users', '/v1/tokens', '/v1/audit']) {
    assert.ok(paths.includes(path), path);
  }
  const webhook = expectOk(
    await admin.request<{ id: string }>('POST', '/v1/webhooks', { url: 'https://hooks.example/' }),
  );
  for (const { path: template, parameters } of lists) {
    // The one list of what belongs to something else.
    const path = template.replace('/v1/webhooks/{id}/', `/v1/webhooks/${webhook.id}/`);
    const rows = expectOk(await get(path));
    assert.ok(Array.isArray(rows), path);
    const sorts = parameters.find(({ name }) => name === 'sort')?.schema.enum as string[];
    for (const sort of sorts) {
      const pages = await follow(`${path}?cursor=&per_page=40&sort=${sort}`, 'next');
      const sorted = expectOk(await get(`${path}?sort=${sort}`));
      assert.deepEqual(pages.flat().map(withoutPosition), sorted.map(withoutPosition), `${path} by ${sort}`);
    }
    const first = await get(`${path}?page=1&per_page=1`);
    assert.ok(Number(first.headers.get('x-total-count')) >= expectOk(first).length, path);
    for (const query of [
      'statsu=running',
      'page=0',
      'page=x',
      'per_page=0',
      'per_page=1001',
      'sort=nothing',
      'cursor=x',
      'created_after=soon',
      'page=1&page=2',
    ]) {
      const { details } = expectError(await get(`${path}?${query}`), 400);
      assert.equal((details as { field: string }[])[0]?.field.split('.')[0], query.split('=')[0], `${path}?${query}`);
    }
    const near = expectError(await get(`${path}?per_pag=1`), 400).details as { near_matches: string[] }[];
    assert.equal(near[0]?.near_matches[0], 'per_page', path);
  }
});
