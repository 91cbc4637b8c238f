/** TLS of the server's own, through clients that nobody here wrote: Node's, OpenSSL's, curl and the command line. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { type Agent, Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { createCommandLine, ended, type Run } from '../cli/support.ts';
import { type Certificate, createAuthority } from '../support/certificates.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { needs } from '../support/needs.ts';
import { ADMIN_PASSWORD, freePort, SHARED_MASTER_KEY, spawnProvisioning, until } from '../support/server.ts';

/** The server looks at its files every two seconds, and tells what is wrong with them at the second look. */
const RELOAD_MS = 60_000;

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

describe('the server speaks TLS itself', { skip: needs('openssl') }, async () => {
  if (needs('openssl') !== false) return;
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-tls-'));
  const authority = createAuthority('Authority of the server');
  const stranger = createAuthority('Authority of somebody else');
  const database = await createTestDatabase({ poolSize: 2 });
  after(async () => {
    await database.close();
    authority[Symbol.dispose]();
    stranger[Symbol.dispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function write(name: string, { cert, key }: Certificate): Promise<{ cert: string; key: string }> {
    const files = { cert: path.join(directory, `${name}.pem`), key: path.join(directory, `${name}.key`) };
    await writeFile(files.cert, cert);
    await writeFile(files.key, key, { mode: 0o600 });
    return files;
  }

  test('without a proxy: HSTS, TLS 1.2 and 1.3 and nothing older, ciphers with forward secrecy alone', async () => {
    const files = await write('plain', authority.issue('first'));
    await using server = await start(database, { TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key });
    const { status, headers } = await get(server.port, '/health/ready', { ca: authority.cert });
    assert.equal(status, 200);
    assert.match(String(headers['strict-transport-security']), /^max-age=\d{7,}/);
    await assert.rejects(get(server.port, '/health/ready', { ca: stranger.cert }), /certificate/);
    await assert.rejects(fetch(`http://127.0.0.1:${server.port}/health/live`));

    const shake = (...args: string[]) => sClient(server.port, authority.file, args);
    assert.match((await shake('-tls1_2')).stdout, /Protocol *: TLSv1\.2/);
    assert.match((await shake('-tls1_3')).stdout, /New, TLSv1\.3/);
    // The client itself would speak these; it is the server that does not.
    const lax = ['-cipher', 'ALL:@SECLEVEL=0'];
    for (const old of ['-tls1', '-tls1_1']) assert.match((await shake(old, ...lax)).stderr, /alert protocol version/);
    const weak = await shake('-tls1_2', '-cipher', 'AES128-SHA:AES256-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0');
    assert.match(weak.stderr, /alert handshake failure/);
  });

  test('curl and the command line trust an authority of their own', { skip: needs('curl') }, async () => {
    const files = await write('cli', authority.issue('cli'));
    await using server = await start(database, { TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key });
    const url = `https://127.0.0.1:${server.port}`;
    const curl = await run('curl', ['-sS', '--cacert', authority.file, `${url}/health/ready`]);
    assert.match(curl.stdout, /"ready"/);
    assert.notEqual((await run('curl', ['-sS', `${url}/health/ready`])).status, 0);

    await using cli = await createCommandLine();
    const login = ['login', url, '--password-stdin', '--name', 'own'];
    const refused = await cli.run(login, { input: ADMIN_PASSWORD });
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /--ca <file>/);
    const wrong = await cli.run([...login, '--ca', '/nowhere.pem'], { input: ADMIN_PASSWORD });
    assert.equal(wrong.status, 2, wrong.stderr);
    const trusted = await cli.run([...login, '--ca', authority.file], { input: ADMIN_PASSWORD });
    assert.equal(trusted.status, 0, trusted.stderr);
    // The context remembers it.
    const me = await cli.run(['whoami', '-o', 'json']);
    assert.equal(JSON.parse(me.stdout).username, 'admin', me.stderr);
    // And by the environment, for programs and the client library.
    for (const name of ['PROVISIONING_CA', 'NODE_EXTRA_CA_CERTS']) {
      const env = { PROVISIONING_URL: url, [name]: authority.file };
      const status = await cli.run(['status', '-o', 'json'], { env });
      assert.equal(status.status, 0, `${name}: ${status.stderr}`);
    }
  });

  test('new files are taken up without a restart, bad ones are not, and connections go on', async () => {
    // As Kubernetes mounts a secret: files are links into ..data, which is a link that is swapped.
    const mounted = path.join(directory, 'mounted');
    const version = async (name: string, { cert, key }: Certificate) => {
      await mkdir(path.join(mounted, name), { recursive: true });
      await writeFile(path.join(mounted, name, 'tls.crt'), cert);
      await writeFile(path.join(mounted, name, 'tls.key'), key);
      await symlink(name, path.join(mounted, '..new'));
      await rename(path.join(mounted, '..new'), path.join(mounted, '..data'));
    };
    await version('..1', authority.issue('one'));
    const files = { cert: path.join(mounted, 'tls.crt'), key: path.join(mounted, 'tls.key') };
    await symlink('..data/tls.crt', files.cert);
    await symlink('..data/tls.key', files.key);
    await using server = await start(database, { TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key });
    const login = { username: 'admin', password: ADMIN_PASSWORD };
    const { body } = await post(server.port, '/v1/auth/login', login, authority.cert);
    const metric = async () => {
      const options = { ca: authority.cert, token: JSON.parse(body).token as string };
      const text = (await get(server.port, '/metrics', options)).body;
      return {
        failed: Number(/^provisioning_tls_reload_failed (\d)/m.exec(text)?.[1]),
        ends: Number(/^provisioning_tls_certificate_expiry_timestamp_seconds (\S+)/m.exec(text)?.[1]),
      };
    };
    const serves = (name: string) =>
      until(async () => (await subject(server.port, authority.cert)) === name, `certificate ${name}`, RELOAD_MS);
    await serves('one');
    const first = await metric();
    assert.equal(first.failed, 0);
    assert.ok(Math.abs(first.ends * 1_000 - Date.now() - 86_400_000) < 600_000);

    const agent = new HttpsAgent({ ca: authority.cert, keepAlive: true, maxSockets: 1 });
    const kept = await get(server.port, '/health/live', { agent });
    await version('..2', authority.issue('two'));
    await serves('two');
    const still = await get(server.port, '/health/live', { agent });
    assert.equal(still.status, 200);
    assert.equal(still.headers['x-test-local-port'], kept.headers['x-test-local-port'], 'the connection was kept');
    agent.destroy();

    // Halves that do not belong together, also of two kinds; what has not been written to its end; no certificate at all.
    const refusals = () => server.output().match(/TLS cannot be set up from .*tls\.crt/g)?.length ?? 0;
    const three = authority.issue('three');
    const bad: Certificate[] = [
      { ...three, key: authority.issue('other').key },
      { ...three, key: authority.issue('other', 'rsa').key },
      { ...three, key: '' },
      { ...three, cert: '' },
      { cert: 'nonsense', key: 'nonsense' },
    ];
    for (const [n, halves] of bad.entries()) {
      await version(`..bad-${n}`, halves);
      await until(async () => refusals() === n + 1, `refusal ${n + 1}`, RELOAD_MS);
      assert.equal((await metric()).failed, 1);
      assert.equal(await subject(server.port, authority.cert), 'two');
    }
    await rm(files.key);
    await until(async () => refusals() === bad.length + 1, 'the refusal of a missing file', RELOAD_MS);
    assert.equal(await subject(server.port, authority.cert), 'two');

    // A certificate of another kind, with its own key.
    await symlink('..data/tls.key', files.key);
    await version('..4', authority.issue('four', 'rsa'));
    await serves('four');
    assert.equal((await metric()).failed, 0);

    // Mended by an ordinary rename, as ACME clients do.
    const mended = await write('mended', authority.issue('five'));
    await rename(mended.key, files.key);
    await rename(mended.cert, files.cert);
    await serves('five');
    assert.equal((await metric()).failed, 0);
  });

  test('with client certificates required nobody else is let in, and everybody still needs a token', async () => {
    const files = await write('required', authority.issue('server'));
    const clients = path.join(directory, 'clients.pem');
    await writeFile(clients, stranger.cert);
    const settings = { TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key, TLS_CLIENT_CA_FILE: clients };
    await using server = await start(database, settings);
    const known = stranger.issue('client');
    assert.equal((await get(server.port, '/health/live', { ca: authority.cert, ...known })).status, 200);
    assert.equal((await get(server.port, '/v1/servers', { ca: authority.cert, ...known })).status, 401);
    const unknown = authority.issue('client');
    await assert.rejects(get(server.port, '/health/live', { ca: authority.cert }));
    await assert.rejects(get(server.port, '/health/live', { ca: authority.cert, ...unknown }));

    // An authority that is taken off the list is off it for sessions of before, too.
    const session = await sessionOf(server.port, { ca: authority.cert, ...known });
    await writeFile(clients, authority.cert);
    const isLetIn = async () =>
      get(server.port, '/health/live', { ca: authority.cert, ...unknown }).then(
        () => true,
        () => false,
      );
    await until(isLetIn, 'the new authority', RELOAD_MS);
    await assert.rejects(get(server.port, '/health/live', { ca: authority.cert, ...known }));
    await assert.rejects(get(server.port, '/health/live', { ca: authority.cert, ...known, session }));
    // An empty file is no list of everybody.
    await writeFile(clients, '');
    await until(async () => server.output().includes('holds no certificate'), 'the refusal', RELOAD_MS);
    await assert.rejects(get(server.port, '/health/live', { ca: authority.cert, ...known }));
    assert.equal(await isLetIn(), true);
  });

  test('with client certificates optional one may be left out, but not be a wrong one', async () => {
    const files = await write('optional', authority.issue('server'));
    const settings = {
      ...{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key },
      ...{ TLS_CLIENT_CA_FILE: stranger.file, TLS_CLIENT_CERTS: 'optional' },
    };
    await using server = await start(database, settings);
    const live = (options: Options) => get(server.port, '/health/live', { ca: authority.cert, ...options });
    assert.equal((await live({})).status, 200);
    assert.equal((await live(stranger.issue('client'))).status, 200);
    await assert.rejects(live(authority.issue('client')));
  });

  test('settings that cannot be used end the start and say why', async () => {
    const files = await write('good', authority.issue('server'));
    const other = await write('other', authority.issue('other'));
    const otherKind = await write('other-kind', authority.issue('other', 'rsa'));
    const empty = path.join(directory, 'empty.pem');
    await writeFile(empty, '');
    const cases: [Record<string, string>, RegExp][] = [
      [{ TLS_CERT_FILE: files.cert }, /needs both/],
      [{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: other.key }, /must be PEM and belong together/],
      [{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: otherKind.key }, /must be PEM and belong together/],
      [{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: empty }, /must be PEM and belong together/],
      [{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: '/nowhere.key' }, /ENOENT/],
      [{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key, TLS_CLIENT_CA_FILE: empty }, /no certificate/],
      [{ TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key, TLS_MIN_VERSION: '1.1' }, /1\.2, 1\.3/],
    ];
    for (const [settings, reason] of cases) {
      const used = { ...settings, DATABASE_URL: database.url, PORT: String(await freePort()) };
      const { process: child, exited, output } = spawnProvisioning(['serve'], used);
      const isDecided = async () => child.exitCode !== null || output().includes('listening on');
      await until(isDecided, 'the end of the start', RELOAD_MS);
      child.kill('SIGTERM');
      assert.equal(await exited, 2, output());
      assert.match(output(), reason);
    }
  });
});

interface Options {
  ca?: string;
  cert?: string;
  key?: string;
  token?: string;
  agent?: Agent;
  session?: Buffer;
}

async function start(database: TestDatabase, tls: Record<string, string>) {
  const port = await freePort();
  const common = { DATABASE_URL: database.url, MASTER_KEY: SHARED_MASTER_KEY, ADMIN_PASSWORD, PROVIDERS: 'simulated' };
  const limits = { RATE_LIMIT: '0', LOGIN_RATE_LIMIT: '0', LOG_FORMAT: 'json', PORT: String(port) };
  const { process: child, output, exited } = spawnProvisioning(['serve'], { ...common, ...limits, ...tls });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await exited;
  };
  try {
    const isUp = async () => output().includes('listening on https://') || child.exitCode !== null;
    await until(isUp, 'the server', 180_000);
    assert.equal(child.exitCode, null, output());
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, output, [Symbol.asyncDispose]: stop };
}

/** A request on a connection of its own, unless an agent is given. */
function send(port: number, route: string, options: Options & { method?: string; body?: string }): Promise<Answer> {
  const { token, body, agent = false, method = 'GET', ...tls } = options;
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const headers = { ...authorization, ...type };
    const sent = httpsRequest({ host: '127.0.0.1', port, path: route, method, agent, headers, ...tls }, (response) => {
      const local = String(response.socket.localPort);
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: { ...response.headers, 'x-test-local-port': local },
          body: text,
        }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const get = (port: number, route: string, options: Options) => send(port, route, options);
const post = (port: number, route: string, body: object, ca: string) =>
  send(port, route, { ca, method: 'POST', body: JSON.stringify(body) });

/** The name in the certificate that a new connection gets. */
function subject(port: number, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ host: '127.0.0.1', port, ca }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.end();
    });
    socket.on('error', reject);
  });
}

/** A session that a later connection may resume. */
function sessionOf(port: number, options: Options): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ...options });
    socket.once('session', (session) => {
      resolve(session);
      socket.end();
    });
    socket.on('error', reject);
  });
}

async function run(command: string, args: string[]): Promise<Run> {
  const child = spawn(command, args);
  child.stdin.end();
  return ended(child);
}

function sClient(port: number, ca: string, args: string[]): Promise<Run> {
  return run('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', ca, ...args]);
}
