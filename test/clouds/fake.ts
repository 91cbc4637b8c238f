/**
 * What the fake clouds have in common: an HTTP server on loopback that counts and keeps what it is asked, limits the
 * rate, takes its time, and goes wrong on demand. Chances are drawn from a seeded generator.
 */
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { generator } from '../../src/util/random.ts';

/** Ways in which a call goes wrong. `lost_answer` and the three after it take effect; the others do not. */
export type Fault =
  | 'lost_answer'
  | 'half_open'
  | 'garbage'
  | 'truncated'
  | 'throttled'
  | 'server_error'
  | 'lost_request';

export const FAULTS: readonly Fault[] = [
  'lost_answer',
  'half_open',
  'garbage',
  'truncated',
  'lost_request',
  'throttled',
  'server_error',
];

export interface FakeRequest {
  method: string;
  /** Without the query. */
  path: string;
  query: URLSearchParams;
  headers: http.IncomingHttpHeaders;
  /** The text of the body. */
  text: string;
}

export interface FakeReply {
  status: number;
  /** Text is sent as it is, anything else as JSON. */
  body?: unknown;
  contentType?: string;
  headers?: Record<string, string>;
}

export interface FakeSettings {
  seed?: number;
  /** Milliseconds before an answer. */
  latencyMs?: number;
  /** Calls in so many seconds; past that 429. Absent: no limit. */
  limit?: { calls: number; perSeconds: number };
  /** Lists show something else than what is. Absent: they do not. */
  stale?: StaleLists;
  /** Told each request that is carried out, and what it is answered. */
  heard?: (request: FakeRequest, reply: FakeReply) => void;
}

/** Each list shows the servers of another moment, so that time seems to go back, and may lack some of them. */
export interface StaleLists {
  /** The oldest moment. Milliseconds ago. */
  lagMs: number;
  /** Chance of a server to be left out, 0 to 1. A list never lacks what the one before it, asked for in the same way, lacked. */
  loses: number;
}

export interface Fake extends AsyncDisposable {
  /** `http://127.0.0.1:…` */
  endpoint: string;
  /** Chance of each fault at every call, 0 to 1. */
  chances: Partial<Record<Fault, number>>;
  /** The next call that matches `METHOD /path?query` goes wrong so. */
  next(call: RegExp, fault: Fault): void;
  /** The next call that changes something, or that only looks, waits after its arrival until it is let go. */
  hold(kind: 'change' | 'look'): HeldCall;
  /** How many faults of `next` are still to come. */
  planned(): number;
  /**
   * `throttled`: answered with 429 for whatever reason; `limited`: because the limit was exceeded; `refused`: the
   * credentials were not accepted.
   */
  counts(): { reads: number; mutations: number; throttled: number; limited: number; refused: number };
  /** `METHOD /path` of everything that arrived. */
  calls: { line: string; at: number }[];
}

/** A call that stands still at the cloud, before anything of it was looked at. */
export interface HeldCall {
  arrived: Promise<void>;
  letGo(): void;
}

/**
 * The servers as lists show them.
 * @param servers what is there, by id. Call `remember` whenever that may have changed.
 */
export function createLists<Server>(
  { stale, seed = 1 }: FakeSettings,
  servers: ReadonlyMap<unknown, Server>,
): { remember(): void; rows(asked: string): Server[] } {
  if (stale === undefined) return { remember: () => {}, rows: () => [...servers.values()] };
  const random = generator(seed);
  /** Ids that the last list showed, by how it was asked for. */
  const shown = new Map<string, Set<unknown>>();
  const moments: { at: number; servers: Map<unknown, Server> }[] = [];
  const remember = () => {
    const now = performance.now();
    moments.push({ at: now, servers: structuredClone(new Map(servers)) });
    while (moments[1] !== undefined && moments[1].at < now - stale.lagMs) moments.shift();
  };
  return {
    remember,
    rows(asked) {
      remember();
      const at = performance.now() - random() * stale.lagMs;
      const moment = moments.findLast((past) => past.at <= at) ?? moments[0];
      const before = shown.get(asked);
      const rows = [...(moment?.servers ?? [])].filter(([id]) => !before?.has(id) || random() >= stale.loses);
      shown.set(asked, new Set(rows.map(([id]) => id)));
      return rows.map(([, server]) => server);
    },
  };
}

/**
 * @param handle carries a request out. @param changes whether it changes something.
 * @param dialect what the cloud's own 429 and 500 look like, and how it tells of its limit.
 */
export async function startFake(
  settings: FakeSettings,
  handle: (request: FakeRequest) => FakeReply | Promise<FakeReply>,
  dialect: {
    changes(request: FakeRequest): boolean;
    throttled: FakeReply;
    serverError: FakeReply;
    limitHeaders?(limit: number, remaining: number, resetInSeconds: number): Record<string, string>;
  },
): Promise<Fake> {
  const random = generator(settings.seed ?? 1);
  const chances: Partial<Record<Fault, number>> = {};
  const planned: { call: RegExp; fault: Fault }[] = [];
  const held: { changes: boolean; arrive(): void; goOn: Promise<void> }[] = [];
  const counted = { reads: 0, mutations: 0, throttled: 0, limited: 0, refused: 0 };
  const calls: { line: string; at: number }[] = [];
  const bucket = createBucket(settings.limit);

  const faultOf = (line: string): Fault | null => {
    const place = planned.findIndex(({ call }) => call.test(line));
    if (place !== -1) return planned.splice(place, 1)[0]?.fault ?? null;
    // One call has one fault; each is drawn by itself, in this order.
    return FAULTS.find((fault) => random() < (chances[fault] ?? 0)) ?? null;
  };

  const answer = async (incoming: http.IncomingMessage, response: http.ServerResponse) => {
    const request = await readRequest(incoming);
    // A form is part of what is asked.
    const form = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
    const line = `${request.method} ${incoming.url}${form ? ` ${request.text}` : ''}`;
    calls.push({ line, at: performance.now() });
    counted[dialect.changes(request) ? 'mutations' : 'reads'] += 1;
    const within = bucket.take();
    if (!within) counted.limited += 1;
    const headers =
      settings.limit === undefined ? {} : dialect.limitHeaders?.(settings.limit.calls, bucket.left(), bucket.reset());
    if (settings.latencyMs) await delay(settings.latencyMs);
    const stop = held.findIndex(({ changes }) => changes === dialect.changes(request));
    if (stop !== -1) {
      const [here] = held.splice(stop, 1);
      here?.arrive();
      await here?.goOn;
    }
    const fault = within ? faultOf(line) : 'throttled';
    if (fault === 'lost_request') return incoming.socket.destroy();
    if (fault === 'throttled') {
      counted.throttled += 1;
      return send(response, dialect.throttled, headers);
    }
    if (fault === 'server_error') return send(response, dialect.serverError, headers);
    const reply = await handle(request);
    settings.heard?.(request, reply);
    if (reply.status === 401) counted.refused += 1;
    if (fault === 'half_open') return;
    if (fault === 'lost_answer') return incoming.socket.destroy();
    if (fault === 'garbage') return send(response, { ...reply, body: '<html>502 Bad Gateway</html>' }, headers);
    if (fault === 'truncated') return truncate(incoming, response, reply);
    send(response, reply, headers);
  };

  // An idle connection is kept: a call must not meet its end by chance.
  const server = http.createServer({ keepAliveTimeout: 0 }, (incoming, response) => {
    answer(incoming, response).catch((error: unknown) => {
      // A mistake in the fake itself must be seen.
      process.stderr.write(`fake cloud: ${error instanceof Error ? error.stack : error}\n`);
      incoming.socket.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    chances,
    next: (call, fault) => void planned.push({ call, fault }),
    hold(kind) {
      const arrival = Promise.withResolvers<void>();
      const leave = Promise.withResolvers<void>();
      held.push({ changes: kind === 'change', arrive: arrival.resolve, goOn: leave.promise });
      return { arrived: arrival.promise, letGo: leave.resolve };
    },
    planned: () => planned.length,
    counts: () => ({ ...counted }),
    calls,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readRequest(incoming: http.IncomingMessage): Promise<FakeRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const url = new URL(incoming.url ?? '/', 'http://fake');
  return {
    method: incoming.method ?? 'GET',
    path: url.pathname,
    query: url.searchParams,
    headers: incoming.headers,
    text: Buffer.concat(chunks).toString('utf8'),
  };
}

function textOf(body: unknown): string {
  return typeof body === 'string' ? body : JSON.stringify(body);
}

function send(response: http.ServerResponse, reply: FakeReply, headers: Record<string, string> = {}): void {
  const type =
    reply.body === undefined ? {} : { 'content-type': reply.contentType ?? 'application/json; charset=UTF-8' };
  response.writeHead(reply.status, { ...type, ...headers, ...reply.headers });
  response.end(reply.body === undefined ? undefined : textOf(reply.body));
}

/** Half of the answer, under a length that promises all of it. */
function truncate(incoming: http.IncomingMessage, response: http.ServerResponse, reply: FakeReply): void {
  const text = textOf(reply.body ?? {});
  response.writeHead(reply.status, { 'content-type': 'application/json', 'content-length': String(text.length) });
  response.write(text.slice(0, text.length / 2), () => incoming.socket.destroy());
}

/** The provider's side of a rate limit: so many calls, coming back evenly. */
function createBucket(limit: FakeSettings['limit']) {
  if (limit === undefined) return { take: () => true, left: () => 0, reset: () => 0 };
  const rate = limit.calls / limit.perSeconds / 1_000;
  let left = limit.calls;
  let at = performance.now();
  const fill = () => {
    const now = performance.now();
    left = Math.min(limit.calls, left + (now - at) * rate);
    at = now;
  };
  return {
    take() {
      fill();
      if (left < 1) return false;
      left -= 1;
      return true;
    },
    left: () => Math.floor(left),
    reset: () => Math.ceil((limit.calls - left) / rate / 1_000),
  };
}
