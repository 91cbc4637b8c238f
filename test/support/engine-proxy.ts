import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Stands between a Docker client and its engine: counts what passes and loses what it is told to. */
export interface EngineProxy extends AsyncDisposable {
  /** The address to give to the client. */
  readonly host: string;
  /** Requests that reached the proxy since it started. */
  counts(): { reads: number; mutations: number };
  /** The next matching request is carried out, and its answer is cut off. */
  loseNextAnswer(request: RegExp): void;
  /** The next matching request never reaches the engine. */
  loseNextRequest(request: RegExp): void;
}

/**
 * @param engineHost `unix:///path` or `http://host:port` of the real engine.
 * The patterns are matched against `POST /containers/create?name=…`.
 */
export async function startEngineProxy(engineHost: string): Promise<EngineProxy> {
  const directory = await mkdtemp(join(tmpdir(), 'engine-proxy-'));
  const socketPath = join(directory, 'engine.sock');
  const counted = { reads: 0, mutations: 0 };
  let answerToLose: RegExp | null = null;
  let requestToLose: RegExp | null = null;

  const server = http.createServer((request, response) => {
    const line = `${request.method} ${request.url}`;
    counted[request.method === 'GET' ? 'reads' : 'mutations'] += 1;
    if (requestToLose?.test(line)) {
      requestToLose = null;
      request.socket.destroy();
      return;
    }
    const loseAnswer = answerToLose?.test(line) ?? false;
    if (loseAnswer) answerToLose = null;

    const { method, url, headers } = request;
    const onward = http.request({ ...target(engineHost), method, path: url, headers }, (answer) => {
      if (loseAnswer) {
        answer.resume().on('end', () => request.socket.destroy());
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => request.socket.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));

  return {
    host: `unix://${socketPath}`,
    counts: () => ({ ...counted }),
    loseNextAnswer: (request) => {
      answerToLose = request;
    },
    loseNextRequest: (request) => {
      requestToLose = request;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function target(engineHost: string): http.RequestOptions {
  if (engineHost.startsWith('unix://')) return { socketPath: engineHost.slice('unix://'.length) };
  const { hostname, port } = new URL(engineHost);
  return { hostname, port };
}
