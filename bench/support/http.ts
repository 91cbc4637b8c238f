/** A load generator that costs little itself: plain sockets, kept alive, one request at a time on each. */
import { once } from 'node:events';
import net from 'node:net';

/** A request as the bytes that go over the wire. */
export function requestBytes(method: string, path: string, token: string, body?: unknown): Buffer {
  const text = body === undefined ? '' : JSON.stringify(body);
  const lines = [
    `${method} ${path} HTTP/1.1`,
    'host: localhost',
    `authorization: Bearer ${token}`,
    ...(text === '' ? [] : ['content-type: application/json', `content-length: ${Buffer.byteLength(text)}`]),
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${text}`);
}

/**
 * Sends `count` requests over `connections` and waits for all answers.
 * @returns seconds that it took. @throws at the first answer that is not 200.
 */
export async function load(options: {
  url: string;
  connections: number;
  count: number;
  request: (n: number) => Buffer;
}): Promise<number> {
  const { hostname, port } = new URL(options.url);
  let next = 0;
  const connections = await Promise.all(
    Array.from({ length: options.connections }, () => openConnection(hostname, Number(port))),
  );
  const begun = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      while (next < options.count) await connection.send(options.request(next++));
    }),
  );
  const seconds = (performance.now() - begun) / 1_000;
  for (const connection of connections) connection.close();
  return seconds;
}

interface Connection {
  /** Resolves when the whole answer has arrived. */
  send(request: Buffer): Promise<void>;
  close(): void;
}

async function openConnection(host: string, port: number): Promise<Connection> {
  const socket = net.connect({ host, port, noDelay: true });
  await once(socket, 'connect');
  let waiting: PromiseWithResolvers<void> | null = null;
  let received: Buffer = Buffer.alloc(0);
  const fail = (error: Error) => {
    waiting?.reject(error);
    waiting = null;
  };
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the server closed the connection')));
  socket.on('data', (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const length = answerLength(received);
    if (length === null || received.length < length) return;
    const status = received.toString('latin1', 9, 12);
    if (status !== '200') fail(new Error(`the server answered ${received.toString('utf8').slice(0, 2_000)}`));
    received = Buffer.alloc(0);
    waiting?.resolve();
    waiting = null;
  });
  return {
    send(request) {
      waiting = Promise.withResolvers();
      socket.write(request);
      return waiting.promise;
    },
    close: () => void socket.destroy(),
  };
}

/** Bytes of the answer with its head; null while the head is not whole. */
function answerLength(bytes: Buffer): number | null {
  const end = bytes.indexOf('\r\n\r\n');
  if (end === -1) return null;
  const length = /\r\ncontent-length: *(\d+)/i.exec(bytes.toString('latin1', 0, end))?.[1];
  if (length === undefined) throw new Error('an answer without content-length cannot be measured here');
  return end + 4 + Number(length);
}
