/** What a cloud says no to, as the user meets it: each code fails the operation at once or makes it wait, and says what to do. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { expectOk } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation, until } from '../support/server.ts';

const installation = await startCloudInstallation();
after(() => installation.close());
const { clouds, create, lines, server } = installation;
const { admin } = server;

interface Case {
  /** What the user has done or has to do with. */
  what: string;
  status: number;
  code: string;
  /** What the error, or the event while it waits, must say. */
  says: RegExp;
}

const TOP_UP = /top it up/;
const RAISE = /raise the limit|higher quota/;
const ELSEWHERE = /another zone or plan/;
const RIGHTS = /access to servers|Read & Write|policy in docs/;
const RENEW = /Check the (API )?(token|access key)/;

const FAILS: Record<string, Case[]> = {
  upcloud: [
    { what: 'no credits', status: 402, code: 'INSUFFICIENT_CREDITS', says: TOP_UP },
    { what: 'quota of processors', status: 403, code: 'SERVER_CORE_LIMIT_REACHED', says: RAISE },
    { what: 'quota of memory', status: 403, code: 'SERVER_MEMORY_LIMIT_REACHED', says: RAISE },
    { what: 'quota of addresses', status: 403, code: 'PUBLIC_IPV4_LIMIT_REACHED', says: RAISE },
    { what: 'quota of disks', status: 403, code: 'STORAGE_SIZE_LIMIT_REACHED', says: RAISE },
    { what: 'no capacity', status: 503, code: 'SERVER_RESOURCES_UNAVAILABLE', says: ELSEWHERE },
    { what: 'no capacity for disks', status: 503, code: 'STORAGE_RESOURCES_UNAVAILABLE', says: ELSEWHERE },
    { what: 'bad zone', status: 404, code: 'ZONE_NOT_FOUND', says: /providers\/upcloud\/zones/ },
    { what: 'bad plan', status: 400, code: 'PLAN_INVALID', says: /providers\/upcloud\/plans/ },
    { what: 'bad image', status: 404, code: 'STORAGE_NOT_FOUND', says: /another image/ },
    { what: 'forbidden', status: 403, code: 'SERVER_FORBIDDEN', says: RIGHTS },
    { what: 'trial account', status: 403, code: 'TRIAL_PLAN', says: /end the trial/ },
    { what: 'expired token', status: 401, code: 'AUTHENTICATION_FAILED', says: RENEW },
    { what: 'name taken', status: 409, code: 'RESOURCE_ALREADY_EXISTS', says: /choose another one, or delete/ },
    { what: 'labels twice', status: 400, code: 'DUPLICATE_LABEL_KEYS', says: /each key once/ },
    { what: 'disk in use', status: 409, code: 'STORAGE_IN_USE', says: /detach it there/ },
  ],
  hetzner: [
    { what: 'quota', status: 403, code: 'resource_limit_exceeded', says: RAISE },
    { what: 'no capacity', status: 422, code: 'resource_unavailable', says: ELSEWHERE },
    { what: 'no place', status: 412, code: 'placement_error', says: ELSEWHERE },
    { what: 'bad zone for the plan', status: 422, code: 'unsupported_error', says: /providers\/hetzner\/plans/ },
    { what: 'bad request', status: 422, code: 'invalid_input', says: /invalid_input/ },
    { what: 'forbidden', status: 403, code: 'forbidden', says: RIGHTS },
    { what: 'token that may only read', status: 403, code: 'token_readonly', says: RIGHTS },
    { what: 'expired token', status: 401, code: 'unauthorized', says: RENEW },
    { what: 'name taken', status: 409, code: 'uniqueness_error', says: /Rename or delete it/ },
  ],
  aws: [
    { what: 'account not open', status: 400, code: 'PendingVerification', says: /payment, verification/ },
    { what: 'account blocked', status: 403, code: 'Blocked', says: /payment, verification/ },
    { what: 'quota of processors', status: 400, code: 'VcpuLimitExceeded', says: RAISE },
    { what: 'quota of servers', status: 400, code: 'InstanceLimitExceeded', says: RAISE },
    { what: 'quota of disks', status: 400, code: 'VolumeLimitExceeded', says: RAISE },
    { what: 'no capacity', status: 500, code: 'InsufficientInstanceCapacity', says: ELSEWHERE },
    {
      what: 'no address left',
      status: 400,
      code: 'InsufficientFreeAddressesInSubnet',
      says: /another one under networks/,
    },
    { what: 'no default network', status: 400, code: 'VPCIdNotSpecified', says: /name a subnet/ },
    { what: 'no default subnet', status: 400, code: 'MissingInput', says: /name a subnet/ },
    { what: 'service not subscribed to', status: 401, code: 'OptInRequired', says: /payment, verification/ },
    { what: 'bad zone', status: 400, code: 'InvalidParameterValue', says: /providers\/aws\/zones/ },
    { what: 'bad plan for the zone', status: 400, code: 'Unsupported', says: /providers\/aws\/plans/ },
    { what: 'bad image', status: 400, code: 'InvalidAMIID.NotFound', says: /another image/ },
    { what: 'bad network', status: 400, code: 'InvalidSubnetID.NotFound', says: /a network that this account has/ },
    { what: 'forbidden', status: 403, code: 'UnauthorizedOperation', says: RIGHTS },
    { what: 'wrong key', status: 401, code: 'AuthFailure', says: RENEW },
    { what: 'expired key', status: 400, code: 'RequestExpired', says: RENEW },
  ],
};

const WAITS: Record<string, Case[]> = {
  upcloud: [
    { what: 'too many at once', status: 403, code: 'SERVER_CREATING_LIMIT_REACHED', says: /Trying again in/ },
    { what: 'state', status: 409, code: 'STORAGE_STATE_ILLEGAL', says: /Trying again in/ },
    { what: 'away', status: 503, code: 'SERVICE_UNAVAILABLE', says: /Trying again in/ },
  ],
  hetzner: [
    { what: 'conflict', status: 409, code: 'conflict', says: /Trying again in/ },
    { what: 'maintenance', status: 503, code: 'maintenance', says: /Trying again in/ },
    { what: 'away', status: 502, code: 'bad_gateway', says: /Trying again in/ },
  ],
  aws: [
    { what: 'another request under way', status: 400, code: 'ConcurrentModification', says: /Trying again in/ },
    { what: 'away', status: 503, code: 'Unavailable', says: /Trying again in/ },
    { what: 'its own fault', status: 500, code: 'InternalError', says: /Trying again in/ },
  ],
};

let made = 0;
const hostname = () => {
  made += 1;
  return `host-${made}`;
};

/** What may have been made is looked for, and the record of the server goes. */
async function assertTidiedUp({ result }: Operation): Promise<void> {
  const cleanup = await ended(admin, String(result?.cleanup_operation_id), 60);
  assert.equal(cleanup.status, 'completed', String(cleanup.error));
}

describe('what a cloud says no to', { concurrency: true }, () => {
  for (const cloud of clouds) describe(cloud.name, { concurrency: 1 }, () => refusalTests(cloud));
});

function refusalTests(cloud: Cloud): void {
  const refused: Operation[] = [];
  for (const { what, status, code, says } of FAILS[cloud.name] ?? []) {
    for (const problem of cloud.name === 'upcloud' ? [false, true] : [false]) {
      test(`${what} (${code}${problem ? ', as problem+json' : ''}) fails at once and says what to do`, async () => {
        cloud.refuse({ status, code, message: `Refused: ${code}.`, problem });
        const asked = cloud.fake.calls.filter(({ line }) => cloud.lines.create.test(line)).length;
        const operation = await ended(admin, (await create(cloud, { hostname: hostname() })).id, 60);
        assert.equal(operation.status, 'failed');
        assert.match(operation.error ?? '', says);
        // A name that is taken is told in our own words.
        assert.ok(operation.error?.includes(code) || code === 'uniqueness_error', operation.error ?? '');
        const again = cloud.fake.calls.filter(({ line }) => cloud.lines.create.test(line)).length;
        assert.equal(again - asked, 1, 'it was asked for more than once');
        cloud.refuse(null);
        refused.push(operation);
      });
    }
  }

  test('what was refused leaves nothing', async () => {
    assert.ok(refused.length > 0);
    // Lists of AWS lag, so that its clean-up looks for a while before it believes that there is nothing.
    if (cloud.name !== 'aws') await Promise.all(refused.map(assertTidiedUp));
    assert.deepEqual([cloud.alive(), cloud.disks()], [[], 0]);
  });

  for (const { what, status, code, says } of WAITS[cloud.name] ?? []) {
    test(`${what} (${code}) makes it wait, with the reason in its events`, async () => {
      cloud.refuse({ status, code, message: `Refused: ${code}.` });
      const { id } = await create(cloud, { hostname: hostname() });
      await until(async () => says.test(await lines(id)), 'the reason to show in the events');
      const still = expectOk(await admin.request<Operation>('GET', `/v1/operations/${id}`));
      assert.equal(still.status, 'running');
      cloud.refuse(null);
      const operation = await ended(admin, id, 60);
      assert.equal(operation.status, 'completed', String(operation.error));
      assert.equal((await installation.remove(operation)).status, 'completed');
      assert.deepEqual(cloud.alive(), []);
    });
  }

  test('a zone, plan or image that is not there is told at the door, with what is', async () => {
    for (const [field, value] of [
      ['zone', 'nowhere-1'],
      ['plan', '2xCPU-4G'],
      ['image', 'debian-7'],
    ] as const) {
      const body = { ...cloud.spec(), workspace: 'default', provider: cloud.name, [field]: value };
      const { status, body: answer } = await admin.request<{ details: { field: string; near_matches: string[] }[] }>(
        'POST',
        '/v1/servers/create',
        body,
      );
      assert.equal(status, 400, JSON.stringify(answer));
      const [problem] = answer.details;
      assert.equal(problem?.field, field);
      assert.ok((problem?.near_matches.length ?? 0) > 0, `nothing near ${value}`);
    }
  });
}
