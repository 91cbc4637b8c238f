/** Requests that `fetch` would mend or refuse: raw paths, raw bytes, any method. */
import http from 'node:http';
import net from 'node:net';
import type { Answer } from './server.ts';

export interface RawRequest {
  method: string;
  /** Sent as it is. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** Where the connection comes from: an address of this machine. */
  localAddress?: string;
}

const agent = new http.Agent({ keepAlive: true });

/** Sends the request over a kept-alive connection. */
export async function sendRaw(
  url: string,
  { method, path, headers = {}, body, localAddress }: RawRequest,
): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  // Node frames a body by itself for some methods only.
  const framed = body === undefined || 'transfer-encoding' in headers;
  const length = framed ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  const options = { agent, hostname, port, method, path, headers: { ...length, ...headers }, localAddress };
  const request = http.request(options, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('error', reject);
    response.on('end', () => {
      const fields = new Headers();
      for (const [name, value] of Object.entries(response.headers)) fields.set(name, String(value));
      resolve(answerOf(response.statusCode ?? 0, fields, Buffer.concat(chunks).toString()));
    });
  });
  request.on('error', reject);
  request.end(body);
  return promise;
}

/** Writes bytes to a connection of its own and reads until the server closes it. */
export async function sendBytes(url: string, bytes: string | Buffer): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  const socket = net.connect(Number(port), hostname, () => socket.write(bytes));
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', reject);
  socket.on('close', () => resolve(Buffer.concat(chunks).toString()));
  const [head = '', ...rest] = (await promise).split('\r\n\r\n');
  const [line = '', ...lines] = head.split('\r\n');
  const headers = new Headers(
    lines.map((text) => [text.split(':')[0] ?? '', text.slice(text.indexOf(':') + 1).trim()]),
  );
  return answerOf(Number(line.split(' ')[1]), headers, rest.join('\r\n\r\n'));
}

function answerOf(status: number, headers: Headers, text: string): Answer {
  const json = headers.get('content-type')?.includes('json') === true && text !== '';
  return { status, headers, body: json ? JSON.parse(text) : text };
}
