/** Where deliveries may go: decided by the address that is connected to. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { startReceiver } from '../../test/support/receiver.ts';
import type { Resolve } from '../outbound/reach.ts';
import { type Outbound, post, problemOf } from './send.ts';

const PUBLIC: Outbound = { reach: { local: false, private: false }, http: true };
const ANYWHERE: Outbound = { reach: { local: true, private: true }, http: true };
const never = new AbortController().signal;
const send = (url: string, outbound: Outbound) => post(url, {}, '{}', outbound, never);

test('addresses of the own machine, its link and private networks are refused in every spelling', () => {
  for (const host of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '169.254.169.254',
    '172.31.0.1',
    '192.168.1.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '[::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::ffff:a9fe:a9fe]',
    '[::127.0.0.1]',
    '[64:ff9b::10.0.0.1]',
    '[2002:7f00:1::]',
    '[fd00:ec2::254]',
    '[fd12::1]',
    '[fe80::1]',
  ]) {
    assert.match(problemOf(`https://${host}/`, PUBLIC) ?? 'allowed', /may not go/, host);
  }
  for (const host of ['1.1.1.1', '172.32.0.1', '192.169.0.1', '[2606:4700::1111]', '[::ffff:1.1.1.1]', 'example.com']) {
    assert.equal(problemOf(`https://${host}/`, PUBLIC), null, host);
  }
  assert.equal(problemOf('http://example.com/', { ...PUBLIC, http: false }), 'must begin with https://');
});

test('a name of a refused address is refused, and nothing arrives there', async () => {
  await using receiver = await startReceiver();
  const { error, status } = await send(`http://localhost:${receiver.port}/`, PUBLIC);
  assert.equal(status, null);
  assert.match(error ?? '', /^localhost is an address of this server's own machine/);
  assert.equal(receiver.received.length, 0);
  assert.equal((await send(`http://localhost:${receiver.port}/`, ANYWHERE)).error, null);
  assert.equal(receiver.received.length, 1);
});

test('a name that answers with another address the second time gains nothing', async () => {
  await using receiver = await startReceiver();
  let looks = 0;
  const rebinding: Resolve = (_hostname, _options, callback) => {
    looks += 1;
    callback(null, [{ address: looks === 1 ? '192.0.2.1' : '127.0.0.1', family: 4 }]);
  };
  // 192.0.2.1 stands for an address that is allowed: nothing answers there, and it must not be asked for again.
  const allowing = { reach: { local: false, private: true }, http: true, resolve: rebinding };
  const aborted = new AbortController();
  setTimeout(() => aborted.abort(), 500);
  await post(`http://rebinding.example:${receiver.port}/`, {}, '{}', allowing, aborted.signal);
  assert.equal(looks, 1, 'the address that was judged is the one connected to');
  const second = await send(`http://rebinding.example:${receiver.port}/`, { ...allowing, resolve: rebinding });
  assert.match(second.error ?? '', /may not go/);
  assert.equal(looks, 2, 'judged anew at each try');
  assert.equal(receiver.received.length, 0);
});

test('of several addresses of a name only those allowed are tried', async () => {
  await using receiver = await startReceiver();
  const both: Resolve = (_hostname, _options, callback) =>
    callback(null, [
      { address: '10.0.0.1', family: 4 },
      { address: '127.0.0.1', family: 4 },
    ]);
  const outbound = { reach: { local: true, private: false }, http: true, resolve: both };
  assert.equal((await send(`http://several.example:${receiver.port}/`, outbound)).status, 204);
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
