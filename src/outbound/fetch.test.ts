/** What an odd or hostile answer does to whoever asked: it is an error of the request, and of nothing else. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, test } from 'node:test';
import { createEgressPolicy, readAllowedNetwork } from './egress.ts';
import { createEgressFetch } from './fetch.ts';

let answer = '';
const server = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.once('data', () => socket.end(answer));
}).listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());
const policy = createEgressPolicy({ allow: [readAllowedNetwork('127.0.0.1')], private: [], local: [] });
const fetch = createEgressFetch(policy('issuer', null));
const ask = (given: string) => {
  answer = given;
  return fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
};

test('an answer that is none rejects, whatever its status', async () => {
  for (const status of [999, 600, 199, 99, 0]) {
    const code = String(status).padStart(3, '0');
    await assert.rejects(ask(`HTTP/1.1 ${code} Odd\r\nContent-Length: 0\r\n\r\n`), Error, code);
  }
  for (const head of ['', 'Connection: Upgrade\r\nUpgrade: websocket\r\n']) {
    await assert.rejects(ask(`HTTP/1.1 101 Switching Protocols\r\n${head}\r\n`), Error, `101 ${head}`);
  }
  await assert.rejects(ask('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'), /aborted|hang up|ECONNRESET/);
  await assert.rejects(ask('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Odd: a\x01b\r\n\r\n'), Error);
  await assert.rejects(ask('nothing of the kind'), Error);
  await assert.rejects(ask(''), Error);
  const huge = `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${'x'.repeat(2_000_000)}`;
  await assert.rejects(ask(huge), /more than 1048576 bytes/);
});

test('an answer is one with each status that has a meaning', async () => {
  for (const status of [200, 204, 302, 304, 401, 503, 599]) {
    const response = await ask(`HTTP/1.1 ${status} Fine\r\nContent-Length: 0\r\nX-Odd: \xe9\r\n\r\n`);
    assert.equal(response.status, status);
  }
});
