/** A program that webhooks are delivered to. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';

/** A request as it arrived, byte for byte. */
export interface Received {
  at: number;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Receiver extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  url: string;
  port: number;
  /** In the order in which they arrived. */
  received: Received[];
  /** What it answers from now on; `hold`: nothing, until the connection ends. */
  answer: { status: number; headers?: Record<string, string>; body?: string } | 'hold';
}

/** Answers 204 until told otherwise. */
export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      // The sender died in the middle of its request: nothing has arrived.
      return;
    }
    const { url: path = '', headers } = request;
    received.push({ at: Date.now(), path, headers, body: Buffer.concat(chunks).toString('utf8') });
    if (receiver.answer === 'hold') return;
    const { status, headers: own = {}, body = '' } = receiver.answer;
    response.writeHead(status, own).end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the receiver has no port');
  const receiver: Receiver = {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    received,
    answer: { status: 204 },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return receiver;
}
