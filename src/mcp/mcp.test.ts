/** The server for assistants, through the protocol's own client: over HTTP and over standard input and output. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { countRows, expectOk, makeClient, makeServer, startInstallation } from '../../test/support/acceptance.ts';
import { MAIN, until } from '../../test/support/server.ts';
import { bounded } from './bounds.ts';
import { TOOLS } from './server.ts';

// Slow enough that each create has something to tell before it ends.
const installation = await startInstallation({ SIMULATED_LATENCY_MS: '100' });
after(() => installation.close());
const { server } = installation;
const { admin } = server;
const viewer = await makeClient(server, 'viewer.mcp', [{ role: 'viewer' }]);
const developer = await makeClient(server, 'developer.mcp', [{ role: 'developer', workspace: 'default' }]);

async function overHttp(token: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`), { requestInit }));
  return client;
}

async function overStdio(token: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [MAIN, 'mcp'],
      env: { PATH: process.env.PATH ?? '', PROVISIONING_URL: server.url, PROVISIONING_TOKEN: token },
    }),
  );
  return client;
}

interface Operation {
  id: string;
  status: string;
  kind: string;
  result: Record<string, unknown> | null;
}

async function call(client: Client, name: string, input: Record<string, unknown> = {}) {
  const { isError, content, structuredContent } = await client.callTool({ name, arguments: input });
  const [first] = content;
  const words = first?.type === 'text' ? first.text : '';
  return { failed: isError === true, words, answer: (structuredContent ?? {}) as Record<string, unknown> };
}

async function answerOf<T>(
  client: Client,
  name: string,
  field: string,
  input: Record<string, unknown> = {},
): Promise<T> {
  const { failed, words, answer } = await call(client, name, input);
  assert.ok(!failed, `${name}: ${words}`);
  assert.deepEqual(JSON.parse(words), answer, 'text and structure say the same');
  return answer[field] as T;
}

test('every tool names a request of the API and the permission that it asks for; changes are marked', async () => {
  const { paths } = JSON.parse(await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'));
  for (const { name, covers, permission, effect } of TOOLS) {
    const [method = '', path = ''] = covers.split(' ');
    assert.equal(paths[path]?.[method.toLowerCase()]?.['x-permission'], permission, name);
    const looks = method === 'GET' || /^(plan|wait)_/.test(name);
    assert.equal(effect.readOnly === true, looks, name);
    if (/^(delete|cancel|rollback|power)_/.test(name)) assert.ok(effect.destructive, name);
  }
});

for (const [way, connect] of [
  ['HTTP', overHttp],
  ['standard input and output', overStdio],
] as const) {
  test(`over ${way}: plan, create, wait, read the log, delete`, async () => {
    const client = await connect(admin.token);
    try {
      const { tools } = await client.listTools();
      assert.deepEqual(tools.map(({ name }) => name).sort(), TOOLS.map(({ name }) => name).sort());
      const annotations = Object.fromEntries(tools.map((tool) => [tool.name, tool.annotations]));
      assert.equal(annotations.list_servers?.readOnlyHint, true);
      assert.deepEqual(
        [annotations.delete_server?.readOnlyHint, annotations.delete_server?.destructiveHint],
        [false, true],
      );
      const hostname = `mcp-${way.slice(0, 4).trim().toLowerCase()}`;
      const wanted = { workspace: 'default', provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1', hostname };
      const before = await countRows(admin, '/v1/servers');
      const plan = await answerOf<Operation>(client, 'plan_server', 'operation', wanted);
      assert.equal(plan.status, 'completed');
      assert.equal(await countRows(admin, '/v1/servers'), before, 'planning makes nothing');

      const keyed = { ...wanted, idempotency_key: `once-${hostname}` };
      const started = await answerOf<Operation>(client, 'create_server', 'operation', keyed);
      assert.equal((await answerOf<Operation>(client, 'create_server', 'operation', keyed)).id, started.id);
      const ended = await answerOf<Operation>(client, 'wait_operation', 'operation', { id: started.id, timeout: 30 });
      assert.equal(ended.status, 'completed');
      const events = await answerOf<{ type: string }[]>(client, 'get_operation_logs', 'events', { id: started.id });
      assert.ok(events.some(({ type }) => type === 'log'));
      const servers = await answerOf<{ id: string }[]>(client, 'list_servers', 'servers', { hostname });
      assert.equal(servers.length, 1);
      const { operation } = (await call(client, 'delete_server', { id: servers[0]?.id })).answer as {
        operation: Operation;
      };
      await answerOf(client, 'wait_operation', 'operation', { id: operation.id });
      assert.deepEqual(await answerOf(client, 'list_servers', 'servers', { hostname }), []);

      const wrong = await call(client, 'create_server', { ...wanted, plan: '2xCPU-4G' });
      assert.ok(wrong.failed);
      assert.match(wrong.words, /^VALIDATION_ERROR: plan: .*did you mean 2xCPU-4GB/);
      const missing = await call(client, 'get_server', { id: 'srv-none' });
      assert.match(missing.words, /^NOT_FOUND: There is no server "srv-none"/);
    } finally {
      await client.close();
    }
  });

  test(`over ${way}: whoever may only read is offered nothing else, and is refused it`, async () => {
    const client = await connect(viewer.token);
    try {
      const { tools } = await client.listTools();
      assert.ok(tools.length > 5);
      assert.ok(tools.every(({ annotations }) => annotations?.readOnlyHint === true));
      assert.ok(tools.every(({ name }) => !name.startsWith('plan_')));
      const before = await countRows(admin, '/v1/operations');
      const attempt = await client.callTool({ name: 'delete_server', arguments: { id: 'srv-any' } }).then(
        ({ isError }) => isError === true,
        () => true,
      );
      assert.ok(attempt, 'a tool that is not listed cannot be called');
      assert.equal(await countRows(admin, '/v1/operations'), before);
    } finally {
      await client.close();
    }
  });
}

test('a number that was not read exactly is refused in words', async () => {
  const request = (n: string) =>
    `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"plan_workflow","arguments":{"workspace":"default","workflow_type":"batch","parameters":{"operations":[],"n":${n}}}}}`;
  const child = spawn(process.execPath, [MAIN, 'mcp'], {
    env: { PATH: process.env.PATH ?? '', PROVISIONING_URL: server.url, PROVISIONING_TOKEN: admin.token },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (line: string): Promise<string> => {
    child.stdin.write(`${line}\n`);
    return (await answers.next()).value ?? '';
  };
  try {
    const client = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } };
    await ask(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: client }));
    child.stdin.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n');
    for (const n of ['1909198862420847982', '1e400', '[1,-1e400]'])
      assert.match(await ask(request(n)), /parameters\.n(\.1)?: is a number past/, n);
    assert.doesNotMatch(await ask(request('9007199254740991')), /is a number past/);
  } finally {
    child.stdin.end();
    await once(child, 'exit');
  }
});

test('what a role holds only over its own is refused over that of others, and the audit log has it', async () => {
  const { server: foreign } = await makeServer(admin, 'not-theirs');
  const client = await overHttp(developer.token);
  const { failed, words } = await call(client, 'delete_server', { id: foreign.id });
  assert.ok(failed);
  assert.match(words, /^FORBIDDEN: .*created by somebody else.*Do not try to get around this/);
  await client.close();
  // Written once the answer is on its way.
  await until(async () => {
    const denials = expectOk(
      await admin.request<{ principal: string; action: string }[]>('GET', '/v1/audit?outcome=denied'),
    );
    return denials.some(
      ({ principal, action }) => principal === 'developer.mcp' && action.startsWith('DELETE /v1/servers'),
    );
  }, 'the denial in the audit log');
});

test('without a token that works there is nothing: 401 over HTTP, exit status 4 on the command line', async () => {
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
  for (const token of ['', 'Bearer prv_wrong']) {
    const answer = await fetch(`${server.url}/mcp`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token === '' ? {} : { authorization: token }) },
      body: JSON.stringify(body),
    });
    assert.equal(answer.status, 401);
  }
  await assert.rejects(overHttp('wrong'));
  await assert.rejects(overStdio('wrong'));
});

test('a page of another site may not call it', async () => {
  const { status } = await admin.request('POST', '/mcp', {}, { origin: 'https://elsewhere.example' });
  assert.equal(status, 403);
});

test('an answer is bounded, and says so', () => {
  const long = { events: Array.from({ length: 5_000 }, (_, seq) => ({ seq, line: 'x'.repeat(1_000) })) };
  const short = bounded(long);
  assert.ok(JSON.stringify(short).length <= 50_000);
  assert.equal(short.cut, true);
  assert.ok((short.events as unknown[]).length > 1);
  const fits = { server: { id: 'srv-1' } };
  assert.deepEqual(bounded(fits), fits);
});

test('the rate limit of a caller holds for assistants too', async () => {
  const limited = await installation.replica({ RATE_LIMIT: '20', ROLE: 'api' });
  const client = new Client({ name: 'test', version: '1' });
  const requestInit = { headers: { authorization: `Bearer ${viewer.token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${limited.url}/mcp`), { requestInit }));
  const statuses: string[] = [];
  for (let n = 0; n < 30; n += 1) {
    await client.callTool({ name: 'list_servers', arguments: {} }).then(
      ({ isError, content }) => statuses.push(isError === true ? JSON.stringify(content) : 'ok'),
      (error: Error) => statuses.push(error.message),
    );
  }
  assert.ok(
    statuses.some((status) => /RATE_LIMITED|Too many requests|429/.test(status)),
    statuses.join('; '),
  );
});
