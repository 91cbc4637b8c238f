/** Deliveries over crashes and with several replicas: none is lost, and while nobody dies each is sent once. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { askForServer, expectOk, makeServer, startInstallation } from '../support/acceptance.ts';
import { type Received, startReceiver } from '../support/receiver.ts';
import { ended, until } from '../support/server.ts';
import { deliveriesOf, deliveryThat, makeWebhook, type Payload } from '../support/webhooks.ts';

const installation = await startInstallation({
  WEBHOOK_ALLOW: 'http,local',
  MASTER_KEY: 'the same in all replicas of this test',
});
const receiver = await startReceiver();
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});

const at = (path: string) => receiver.received.filter((request) => request.path === path);
const operationsIn = (requests: Received[]) =>
  requests.map(({ body }) => (JSON.parse(body) as Payload).operation?.id ?? '');
const CREATES = 12;

test('two replicas send each delivery once', async () => {
  await installation.replica();
  const { admin } = installation.server;
  const { id } = await makeWebhook(admin, { url: `${receiver.url}/once` });
  const asked = await Promise.all(Array.from({ length: CREATES }, (_, n) => askForServer(admin, `once-${n}`)));
  const ids = asked.map((operation) => operation.id).sort();
  await until(async () => at('/once').length >= CREATES, 'all deliveries');
  await until(async () => (await deliveriesOf(admin, id)).every(({ status }) => status === 'delivered'), 'their ends');
  assert.deepEqual(operationsIn(at('/once')).sort(), ids, 'each exactly once');
});

test('killed while it sends: another process sends the same delivery again', async () => {
  receiver.answer = 'hold';
  const doomed = installation.server;
  const { id } = await makeWebhook(doomed.admin, { url: `${receiver.url}/killed` });
  // Whichever replica sends it: all of them die.
  await makeServer(doomed.admin, 'killed');
  await until(async () => at('/killed').length === 1, 'the first try');
  await installation.killAll();
  receiver.answer = { status: 204 };
  const next = await installation.replica();
  const delivery = await deliveryThat(next.admin, id, ({ status }) => status === 'delivered', 'the second try');
  assert.equal(delivery.attempts, 2);
  const [first, second] = at('/killed');
  assert.equal(at('/killed').length, 2);
  assert.equal(first?.headers['webhook-id'], second?.headers['webhook-id']);
  assert.equal(first?.body, second?.body);
});

test('killed over and over while operations end: every end is told', async () => {
  let { admin } = await installation.replica();
  const { id } = await makeWebhook(admin, { url: `${receiver.url}/lossless` });
  const ids: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    const asked = await Promise.all(
      Array.from({ length: CREATES }, (_, n) => askForServer(admin, `lossless-${round}-${n}`)),
    );
    ids.push(...asked.map((operation) => operation.id));
    await until(async () => at('/lossless').length > round * CREATES + 3, 'some of them to be told');
    await installation.killAll();
    admin = (await installation.replica()).admin;
  }
  for (const operation of ids) assert.equal((await ended(admin, operation)).status, 'completed');
  const told = () => new Set(operationsIn(at('/lossless')));
  await until(async () => ids.every((operation) => told().has(operation)), 'every end to be told', 60_000);
  const log = expectOk(await admin.request<{ operation_id: string }[]>('GET', `/v1/webhooks/${id}/deliveries`));
  assert.deepEqual(log.map(({ operation_id: operation }) => operation).sort(), [...ids].sort(), 'one delivery each');
});
