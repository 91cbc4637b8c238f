import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MutationOptions, ServerSpec } from '../contract.ts';
import { read } from './calls.ts';
import { connect } from './connection.ts';
import { createDockerProvider, detectDockerHost } from './provider.ts';

// What an engine does that a well-behaved one cannot be made to do. The rest is proved on a real one, in test/machine/docker-provider.test.ts.

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

const SPEC: ServerSpec = { workspace: 'lab', hostname: 'web-1', plan: '1xCPU-1GB', zone: 'local', tags: [] };
const OPTIONS: MutationOptions = { operationId: 'operation-1', guard: () => {} };

/** An engine that answers as told, by the beginning of `GET /containers/json…`; unknown requests hang. */
async function fakeEngine(answers: Record<string, Answer>) {
  const directory = await mkdtemp(join(tmpdir(), 'fake-engine-'));
  const socketPath = join(directory, 'engine.sock');
  const seen: string[] = [];
  const server = http.createServer((request, response) => {
    const line = `${request.method} ${request.url}`;
    seen.push(line);
    const answer = Object.entries(answers).find(([start]) => line.startsWith(start));
    request.resume();
    answer?.[1](request, response);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    host: `unix://${socketPath}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const json =
  (status: number, body: unknown): Answer =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };

const container = (state: string, overrides: object = {}) => ({
  Id: 'c1',
  Names: ['/lab-web-1'],
  Created: 1,
  State: state,
  Labels: { 'provisioning-operation': 'operation-1', 'provisioning-workspace': 'lab' },
  NetworkSettings: { Networks: { bridge: { IPAddress: '172.17.0.2' } } },
  ...overrides,
});

test('an engine that is not running is UNAVAILABLE, retryable, and the message says what to do', async () => {
  const provider = createDockerProvider({ host: 'unix:///nonexistent/engine.sock', image: 'debian:12' });
  for (const call of [provider.listPlans(), provider.validate(SPEC), provider.ensureServer(SPEC, OPTIONS)]) {
    await assert.rejects(call, { code: 'UNAVAILABLE', retryable: true, message: /PROVISIONING_DOCKER_HOST/ });
  }
});

test('an address that is none is refused, and no password in it is repeated', () => {
  assert.throws(
    () => createDockerProvider({ host: 'ssh://me:secret@example.org', image: 'debian:12' }),
    (error: Error) => Reflect.get(error, 'code') === 'INVALID_REQUEST' && !JSON.stringify(error).includes('secret'),
  );
  assert.equal(connect('tcp://me:secret@example.org:2375').address, 'tcp://example.org:2375');
});

test('what is configured wins; a path that is no socket is not an engine', async () => {
  await using engine = await fakeEngine({});
  const socketPath = engine.host.slice('unix://'.length);
  assert.equal(detectDockerHost('tcp://engine:2375', [socketPath]), 'tcp://engine:2375');
  assert.equal(detectDockerHost('', ['/nonexistent.sock', '/etc/passwd', socketPath]), engine.host);
  assert.equal(detectDockerHost(undefined, ['/nonexistent.sock']), null);
});

test('an answer that does not come, or stops half-way, is TIMEOUT', async () => {
  await using engine = await fakeEngine({
    'GET /info': (_, response) => response.writeHead(200, { 'content-length': '100' }).write('{"NCPU":'),
    'GET /_ping': () => {},
  });
  const { docker, ...rest } = connect(engine.host);
  for (const send of [() => docker.info(), () => docker.ping()]) {
    await assert.rejects(read({ docker, ...rest }, 'ask', { timeoutMs: 50 }, send), {
      code: 'TIMEOUT',
      retryable: true,
    });
  }
  rest.close();
});

test('an engine that goes away in the middle of an answer does not hold up the caller', async () => {
  await using engine = await fakeEngine({
    'GET /containers/json': (request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('[');
      setTimeout(() => request.socket.destroy(), 20);
    },
  });
  const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
  const signal = AbortSignal.timeout(200);
  await assert.rejects(provider.listServers({ signal }));
  await provider.close?.();
});

test('the signal cuts off a read whose answer has begun', async () => {
  await using engine = await fakeEngine({
    'GET /containers/json': (_, response) => response.writeHead(200, { 'content-length': '100' }).write('['),
  });
  const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
  const controller = new AbortController();
  const reason = new Error('cancelled');
  const reading = provider.listServers({ signal: controller.signal });
  setTimeout(() => controller.abort(reason), 50);
  await assert.rejects(reading, (error) => error === reason);
  await delay(20);
  await provider.close?.();
});

test('P27: a change that was sent is awaited after the signal has fired', async () => {
  await using engine = await fakeEngine({
    'POST /containers/c1/stop': (_, response) => setTimeout(() => response.writeHead(204).end(), 100),
  });
  const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
  const controller = new AbortController();
  const stopping = provider.stopServer('c1', { ...OPTIONS, signal: controller.signal });
  setTimeout(() => controller.abort(new Error('cancelled')), 20);
  await stopping;
  await provider.close?.();
});

test('a name conflict is looked up, in the words of Docker and of Podman, and a stranger is not adopted', async () => {
  const docker = json(409, { message: 'Conflict. The container name "/x" is already in use by container "y".' });
  const podman = json(500, {
    cause: 'that name is already in use',
    message: 'container create: that name is already in use',
  });
  for (const conflict of [docker, podman]) {
    let lists = 0;
    await using engine = await fakeEngine({
      'GET /containers/json': (request, response) =>
        json(200, lists++ < 2 ? [] : [container('running')])(request, response),
      'GET /images/': json(200, {}),
      'POST /containers/create': conflict,
    });
    const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
    assert.equal((await provider.ensureServer(SPEC, OPTIONS)).ref, 'c1');
    await provider.close?.();
  }

  const stranger = container('running', { Labels: { 'provisioning-operation': 'operation-10' } });
  await using engine = await fakeEngine({
    'GET /containers/json': json(200, [stranger]),
    'GET /images/': json(200, {}),
    'POST /containers/create': docker,
  });
  const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
  await assert.rejects(provider.ensureServer(SPEC, OPTIONS), { code: 'CONFLICT' });
  await provider.close?.();
});

test('P22: a removal that Docker has under way already is success, another conflict is not', async () => {
  const refusal = json(409, { message: 'removal of container c1 is already in progress' });
  for (const [state, accepted] of [
    ['removing', true],
    ['running', false],
  ] as const) {
    await using engine = await fakeEngine({
      'DELETE /containers/c1': refusal,
      'GET /containers/json': json(200, [container(state)]),
    });
    const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
    const deleting = provider.deleteServer('c1', OPTIONS);
    await (accepted ? deleting : assert.rejects(deleting, { code: 'CONFLICT', retryable: true }));
    await provider.close?.();
  }
});

test('a missing image is fetched under the full name of its registry, and a failure says which', async () => {
  const cases = [
    {
      answer: json(404, { message: 'pull access denied for debian, repository does not exist' }),
      code: 'INVALID_REQUEST',
    },
    {
      answer: json(200, { error: 'manifest unknown', errorDetail: { message: 'manifest unknown' } }),
      code: 'INVALID_REQUEST',
    },
    {
      answer: json(500, {
        message: 'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
      }),
      code: 'UNAVAILABLE',
    },
    { answer: json(200, { error: 'write /var/lib/docker: no space left on device' }), code: 'CAPACITY_EXHAUSTED' },
  ];
  for (const { answer, code } of cases) {
    await using engine = await fakeEngine({
      'GET /containers/json': json(200, []),
      'GET /images/': json(404, { message: 'No such image: debian:12' }),
      'POST /images/create': answer,
    });
    const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
    await assert.rejects(provider.ensureServer(SPEC, OPTIONS), { code });
    assert.deepEqual(
      engine.seen.filter((line) => line.startsWith('POST')),
      ['POST /images/create?fromImage=docker.io%2Flibrary%2Fdebian&tag=12'],
    );
    await provider.close?.();
  }
});

test('limits the engine cannot keep are refused in plain words', async () => {
  const message =
    'NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted';
  await using engine = await fakeEngine({
    'GET /containers/json': json(200, []),
    'GET /images/': json(200, {}),
    'POST /containers/create': json(400, { message }),
    'GET /info': json(200, {
      NCPU: 2,
      MemTotal: 4e9,
      ServerVersion: '29.0',
      OperatingSystem: 'linux',
      CpuCfsQuota: false,
    }),
  });
  const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
  await assert.rejects(provider.ensureServer(SPEC, OPTIONS), {
    code: 'FAILED',
    retryable: false,
    message: /cgroups v2/,
  });
  assert.match((await provider.listZones())[0]?.description ?? '', /does not hold containers/);
  await provider.close?.();
});

test('a plan larger than the machine is a problem, with plans that fit', async () => {
  await using engine = await fakeEngine({ 'GET /info': json(200, { NCPU: 2, MemTotal: 4.1e9 }) });
  const provider = createDockerProvider({ host: engine.host, image: 'debian:12' });
  assert.deepEqual(await provider.validate({ ...SPEC, plan: '2xCPU-4GB' }), []);
  assert.deepEqual(await provider.validate({ ...SPEC, plan: '1xCPU-3GB' }), []);
  const [problem] = await provider.validate({ ...SPEC, plan: '8xCPU-32GB' });
  assert.deepEqual([problem?.field, problem?.near_matches[0]], ['plan', '2xCPU-4GB']);
  const tags = ['ok', 'a=b', 'a=c', 'ok', 'c d'];
  const found = await provider.validate({ ...SPEC, hostname: '-bad_', tags });
  assert.deepEqual(
    found.map(({ field, message }) => [field, /"([^"]*)"/.exec(message)?.[1]]),
    [
      ['hostname', '-bad_'],
      ['tags', 'a=c'],
      ['tags', 'ok'],
      ['tags', 'c d'],
    ],
  );
  assert.equal(engine.seen.length, 1);
  await provider.close?.();
});
