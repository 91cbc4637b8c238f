import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { createAccount } from './account.ts';
import { createCloudHttp } from './cloud-http.ts';
import { ProviderError } from './contract.ts';

const TOKEN = 'canary-token-4711';

/** A client of a server that answers by `answer`. */
async function client(answer: http.RequestListener, timeoutMs = 5_000) {
  const server = http.createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const account = createAccount({ name: 'test-cloud', limit: { calls: 6_000, perSeconds: 60 } });
  const cloud = createCloudHttp({
    endpoint: `http://127.0.0.1:${address.port}`,
    headers: { authorization: `Bearer ${TOKEN}` },
    secrets: [TOKEN],
    account,
    refusal: (what, { status }) => new ProviderError('FAILED', `${what}: ${status}`, { retryable: false }),
    timeoutMs,
  });
  return {
    cloud,
    account,
    async [Symbol.asyncDispose]() {
      account.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const CHANGE = { operationId: 'o', guard: () => {} };

async function failure(work: Promise<unknown>): Promise<ProviderError> {
  const error = await work.then(
    () => assert.fail('it succeeded'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProviderError, String(error));
  assert.ok(!JSON.stringify({ ...error, message: error.message, cause: String(error.cause) }).includes(TOKEN));
  return error;
}

test('P28: a connection that answers nothing ends in TIMEOUT, for reads and changes', async () => {
  await using it = await client(() => {}, 50);
  for (const send of [() => it.cloud.read('look', '/'), () => it.cloud.change('act', 'POST', '/', {}, CHANGE)]) {
    const { code, retryable } = await failure(send());
    assert.deepEqual([code, retryable], ['TIMEOUT', true]);
  }
});

test('P28: an answer that never ends is cut off in time, and one without end of data is bounded', async () => {
  await using slow = await client((_, response) => {
    response.writeHead(200);
    response.write('{');
  }, 50);
  assert.equal((await failure(slow.cloud.read('look', '/'))).code, 'TIMEOUT');
  await using endless = await client((_, response) => {
    response.writeHead(200);
    const chunk = Buffer.alloc(1_048_576, 32);
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', more);
    more();
  });
  assert.match((await failure(endless.cloud.read('look', '/'))).message, /larger than/);
});

test('JSON is read whatever the content type says; garbage and half of it can be tried again', async () => {
  await using it = await client((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html', 'content-length': '7' });
    if (request.url === '/half') {
      response.write('{"a"', () => request.socket.destroy());
    } else response.end(request.url === '/good' ? '{"a":1}' : '<html/>');
  });
  assert.deepEqual(await it.cloud.read('look', '/good'), { a: 1 });
  for (const path of ['/bad', '/half']) {
    const { code, retryable } = await failure(it.cloud.read('look', path));
    assert.deepEqual([code, retryable], ['UNAVAILABLE', true]);
  }
});

test('what only looks looks again where an answer is lost; a change is never sent twice', async () => {
  const seen: string[] = [];
  await using it = await client((request, response) => {
    seen.push(request.method ?? '');
    if (seen.length % 2 === 1) request.socket.destroy();
    else response.end('{}');
  });
  assert.deepEqual(await it.cloud.read('look', '/'), {});
  assert.equal((await failure(it.cloud.change('act', 'POST', '/', {}, CHANGE))).code, 'UNAVAILABLE');
  assert.deepEqual(seen, ['GET', 'GET', 'POST']);
});

test('P31: a 429 is waited out as long as Retry-After says, and the guard is asked again', async () => {
  const seen: number[] = [];
  await using it = await client((_, response) => {
    seen.push(performance.now());
    if (seen.length > 1) return void response.end('{}');
    response.writeHead(429, { 'retry-after': '0.4' }).end();
  });
  let guarded = 0;
  await it.cloud.change('act', 'POST', '/', {}, { ...CHANGE, guard: () => void guarded++ });
  assert.equal(guarded, 2);
  assert.ok((seen[1] ?? 0) - (seen[0] ?? 0) >= 395);
});

test('P31: a caller without patience is told when to come back', async () => {
  await using it = await client((_, response) => void response.writeHead(429, { 'retry-after': '7' }).end());
  const { code, retryAfter } = await failure(it.cloud.read('look', '/', { patience: 1 }));
  assert.deepEqual([code, retryAfter], ['RATE_LIMITED', 7]);
});

test('P27: a change that has been sent is awaited whatever the signal does', async () => {
  const controller = new AbortController();
  await using it = await client((_, response) => {
    controller.abort(new Error('cancelled'));
    setTimeout(() => response.end('{"made":true}'), 50);
  });
  const made = await it.cloud.change('act', 'POST', '/', {}, { ...CHANGE, signal: controller.signal });
  assert.deepEqual(made, { made: true });
});

test('P33: a server that sends elsewhere is not followed with the credentials', async () => {
  await using it = await client(
    (_, response) => void response.writeHead(302, { location: 'http://127.0.0.1:9' }).end(),
  );
  assert.equal((await failure(it.cloud.read('look', '/'))).message, 'look: 302');
});

test('P33: a connection that is refused says where and why, without the credentials', async () => {
  const account = createAccount({ name: 'test-cloud', limit: { calls: 600, perSeconds: 60 } });
  const cloud = createCloudHttp({
    endpoint: 'http://127.0.0.1:9',
    headers: { authorization: `Bearer ${TOKEN}` },
    secrets: [TOKEN],
    account,
    refusal: () => assert.fail('nobody answers'),
  });
  const { code, message } = await failure(cloud.read('look', '/'));
  assert.equal(code, 'UNAVAILABLE');
  assert.match(message, /127\.0\.0\.1:9/);
  account.close();
});
