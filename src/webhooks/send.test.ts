/** Where deliveries may go: decided by the address that is connected to. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createEgressPolicy, type EgressSettings } from '../outbound/egress.ts';
import { type Outbound, post, problemOf } from './send.ts';

const outbound = (settings: Partial<EgressSettings>): Outbound => ({
  egress: createEgressPolicy({ allow: [], private: [], local: [], ...settings })('webhook', null),
  http: true,
});
const PUBLIC = outbound({});
const ANYWHERE = outbound({ local: ['webhook'] });
const never = new AbortController().signal;
const send = (url: string, to: Outbound) => post(url, {}, '{}', to, never);

test('a refused address is not delivered to, and http has to be allowed', async () => {
  assert.match((await send('http://127.0.0.1:1/', PUBLIC)).error ?? '', /not an address that webhooks may reach/);
  assert.equal(problemOf('http://example.com/', { ...PUBLIC, http: false }), 'must begin with https://');
});

test('an answer without end is cut off, and counts by its status', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => 'the client may leave');
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
    const more = () => {
      while (!socket.destroyed && socket.write(`400\r\n${'y'.repeat(1_024)}\r\n`));
    };
    socket.on('drain', more);
    more();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { status, excerpt, error } = await send(`http://127.0.0.1:${port}/`, ANYWHERE);
    assert.deepEqual([status, excerpt, error], [200, 'y'.repeat(500), null]);
  } finally {
    server.close();
  }
});

test('a receiver that answers with another protocol, or not at all, does not keep its sender', async () => {
  const answers = [
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut',
    '',
  ];
  for (const answer of answers) {
    const server = createServer((socket) => {
      socket.on('error', () => 'the client may leave');
      socket.once('data', () => socket.end(answer));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      const outcome = await Promise.race([send(`http://127.0.0.1:${port}/`, ANYWHERE), sleep(5_000, null)]);
      assert.notEqual(outcome, null, JSON.stringify(answer));
      assert.notEqual(outcome?.error, null, JSON.stringify(answer));
    } finally {
      server.close();
    }
  }
});
