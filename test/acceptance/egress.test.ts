/** Where users can have the server connect to: every feature that dials against every kind of address, on a real server. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { after, describe, test } from 'node:test';
import { type ErrorBody, expectError, expectOk, startInstallation } from '../support/acceptance.ts';
import { ended, type Operation, until } from '../support/server.ts';
import { deliveriesOf, makeWebhook } from '../support/webhooks.ts';
import { runBatch, type Step, stepsOf } from '../support/workflows.ts';

/** A port at which nothing but a forbidden connection would arrive. */
const PORT = 10_022;
const REFUSED =
  /is not an address that (webhooks|checks of workflows|connections to servers|identity providers) may reach\. An administrator/;

/** Refused for every feature, in the spellings that URLs and addresses have. */
const FORBIDDEN = [
  ...['127.0.0.1', '127.9.9.9', '0.0.0.0', '169.254.169.254', '169.254.0.1', '168.63.129.16', '100.100.100.200'],
  ...['100.64.0.1', '192.0.0.192', '198.18.0.1', '192.0.2.1', '224.0.0.1', '255.255.255.255'],
  ...['::1', '::', 'fe80::1', 'ff02::1', 'fd00:ec2::254', '::ffff:127.0.0.1', '::ffff:a9fe:a9fe', '::7f00:1'],
  ...['64:ff9b::7f00:1', '64:ff9b::1.1.1.1', '64:ff9b:1::7f00:1', '2002:7f00:1::', '2001::1', '2001:db8::1', 'fec0::1'],
];
/** Other ways to write 127.0.0.1, which URLs and resolvers understand. */
const SPELLINGS = ['2130706433', '0x7f000001', '127.1', '0177.0.0.1', 'localhost'];
const nameOf = (address: string) => `${address.replaceAll(/[.:]/g, '-')}.egress.test`;
const names = {
  ...Object.fromEntries(FORBIDDEN.map((address) => [nameOf(address), [address]])),
  'rebinding.egress.test': ['127.0.0.2', '127.0.0.1'],
};
const inUrl = (host: string) => (net.isIP(host) === 6 ? `[${host}]` : host);

const preload = new URL('../support/dial-log.ts', import.meta.url);
preload.searchParams.set('names', JSON.stringify(names));
const installation = await startInstallation(
  { WEBHOOK_ALLOW: 'http', EGRESS_ALLOW: 'open=127.0.0.2' },
  `--import=${preload.href}`,
);
const { server } = installation;
const { admin } = server;
/** At the address that the workspace "open" may reach. It sends everybody on to one that is forbidden. */
const open = createServer((_request, response) =>
  response.writeHead(302, { location: `http://127.0.0.1:${PORT}/` }).end(),
).listen(0, '127.0.0.2');
await once(open, 'listening');
const { port: openPort } = open.address() as AddressInfo;
after(async () => {
  open.close();
  await installation.close();
});
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'open' }));

const dialled = () => [...server.output().matchAll(/dialled (\S+)/g)].flatMap(([, target = '']) => target);
/** Whatever else a feature does, it opens no connection to a port of these tests. */
function assertNotDialled() {
  const forbidden = dialled().filter((target) => target.endsWith(`:${PORT}`));
  assert.deepEqual(forbidden, []);
}

function assertRefused(host: string, message: string | null | undefined) {
  assert.match(message ?? 'nothing was refused', REFUSED, host);
}

/** The message for a field of a refused request. */
function problemWith(field: string, body: ErrorBody): string | undefined {
  return (body.details as { field: string; message: string }[]).find((problem) => problem.field === field)?.message;
}

const machine = (hostname: string, address: string, jump?: string) => ({
  ...{ workspace: 'default', hostname, ip_address: address, check_mode: true },
  ssh: { port: PORT, ...(jump === undefined ? {} : { jump: { address: jump, port: PORT } }) },
});
const importing = (body: object) => admin.request<Operation & ErrorBody>('POST', '/v1/servers/import', body);
const waits = (id: string, check: object) => ({
  ...{ id, kind: 'wait', with: { ...check, every: 1, within: 1 }, on_failure: 'continue' },
});

describe('a forbidden address is refused and not dialled', () => {
  test('as the URL of a webhook', async () => {
    for (const address of [...FORBIDDEN, '2130706433', '0x7f000001', '127.1', '0177.0.0.1']) {
      const answer = await admin.request('POST', '/v1/webhooks', { url: `http://${inUrl(address)}:${PORT}/` });
      assertRefused(address, problemWith('url', expectError(answer, 400)));
    }
    assertNotDialled();
  });

  test('behind a name that a webhook is delivered to', async () => {
    const deliver = async (host: string) => {
      const { id } = await makeWebhook(admin, { url: `http://${host}:${PORT}/`, events: ['server.adopt'] });
      expectOk(await admin.request('POST', `/v1/webhooks/${id}/test`));
      await until(async () => (await deliveriesOf(admin, id))[0]?.error !== null, `a delivery to ${host} to be tried`);
      assertRefused(host, (await deliveriesOf(admin, id))[0]?.error);
      expectOk(await admin.request('DELETE', `/v1/webhooks/${id}`));
    };
    await Promise.all([...FORBIDDEN.map(nameOf), 'localhost'].map(deliver));
    assertNotDialled();
  });

  test('as what a workflow waits for, over HTTP and TCP', async () => {
    const hosts = [...FORBIDDEN, ...FORBIDDEN.map(nameOf), ...SPELLINGS];
    const { id } = await runBatch(
      admin,
      hosts.flatMap((host, at) => [
        waits(`http-${at}`, { http: `http://${inUrl(host)}:${PORT}/` }),
        waits(`tcp-${at}`, { tcp: `${inUrl(host)}:${PORT}` }),
      ]),
      { parallel_limit: 100 },
    );
    const steps: Step[] = await stepsOf(admin, id);
    assert.equal(steps.length, 2 * hosts.length);
    for (const { id: step, error } of steps) assertRefused(hosts[Number(step.split('-')[1])] ?? step, error);
    assertNotDialled();
  });

  test('as a machine to import', async () => {
    for (const address of FORBIDDEN) {
      assertRefused(address, problemWith('ip_address', expectError(await importing(machine('m', address)), 400)));
    }
    assertNotDialled();
  });

  test('as an identity provider, by address and by name', async () => {
    await Promise.all(
      [...FORBIDDEN.map(inUrl), ...FORBIDDEN.map(nameOf), ...SPELLINGS].map(async (host) => {
        const provider = { name: 'egress', issuer: `https://${host}:${PORT}` };
        const answer = await admin.request('POST', '/v1/auth/providers', provider);
        assertRefused(host, problemWith('issuer', expectError(answer, 400)));
      }),
    );
    assertNotDialled();
  });

  test('as a jump host, by address and by name, with one code for all', async () => {
    for (const address of FORBIDDEN) {
      const { body } = await importing(machine('m', '10.1.2.3', address));
      assertRefused(address, problemWith('ssh.jump.address', body));
    }
    await Promise.all(
      [...FORBIDDEN.map(nameOf), ...SPELLINGS].map(async (name, at) => {
        const { id } = expectOk(await importing(machine(`m-${at}`, '10.1.2.3', name)));
        const { status, error } = await ended(admin, id);
        assert.equal(status, 'failed');
        assertRefused(name, error);
      }),
    );
    assertNotDialled();
  });
});

test('an address that one workspace may reach is refused in another, and redirects of it are not followed', async () => {
  const check = [waits('a', { http: `http://127.0.0.2:${openPort}/`, status: 302 })];
  const url = `http://127.0.0.2:${openPort}/`;
  expectError(await admin.request('POST', '/v1/webhooks', { url }), 400);
  const [refused] = await stepsOf(admin, (await runBatch(admin, check)).id);
  assertRefused('127.0.0.2', refused?.error);
  assert.deepEqual(
    dialled().filter((target) => target.endsWith(`:${openPort}`)),
    [],
  );

  const [step] = await stepsOf(admin, (await runBatch(admin, check, {}, 60, 'open')).id);
  assert.equal(step?.status, 'completed', step?.error ?? '');
  const { id } = await makeWebhook(admin, { url, workspace: 'open' });
  expectOk(await admin.request('POST', `/v1/webhooks/${id}/test`));
  await until(async () => (await deliveriesOf(admin, id))[0]?.response_status === 302, 'the delivery to arrive');
  expectOk(await admin.request('DELETE', `/v1/webhooks/${id}`));
  assertNotDialled();
});

test('a name that resolves to a forbidden address the second time gains nothing', async () => {
  const host = 'rebinding.egress.test';
  const check = [waits('a', { tcp: `${host}:${openPort}` })];
  const before = dialled().length;
  const { id } = await runBatch(admin, check, {}, 60, 'open');
  assert.equal((await stepsOf(admin, id))[0]?.status, 'completed');
  assert.deepEqual(dialled().slice(before), [`127.0.0.2:${openPort}`]);
  const again = await runBatch(admin, check, {}, 60, 'open');
  for (const { error } of await stepsOf(admin, again.id)) assertRefused(host, error);
  assert.deepEqual(dialled().slice(before), [`127.0.0.2:${openPort}`]);
});
