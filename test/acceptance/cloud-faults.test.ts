/** Each way in which a cloud's answer can go wrong, at each call of a server's life: what the operation does then. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { FAULTS, type Fault } from '../clouds/fake.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended } from '../support/server.ts';

// A second, so that a half-open connection is given up soon; states lag, and answers take their time.
const installation = await startCloudInstallation({ CLOUD_TIMEOUT_SECONDS: '1' }, { settleMs: 150, latencyMs: 20 });
after(() => installation.close());
const { clouds, create, lines, server } = installation;
const { admin } = server;

/** What the operation's events say of a create that went wrong so. */
const SAYS: Record<Fault, RegExp> = {
  lost_answer: /(connection|call) to .* failed.*Trying again in/i,
  lost_request: /(connection|call) to .* failed.*Trying again in/i,
  truncated: /(failed|unreadable).*Trying again in/i,
  garbage: /(unreadable|answered no).*Trying again in/i,
  half_open: /did not answer (within|in time).*it may have happened.*Trying again in/i,
  server_error: /(Internal|internal) error.*Trying again in/i,
  throttled: /asked for fewer calls; going on in/,
};

describe('a cloud whose answers go wrong', { concurrency: true }, () => {
  for (const cloud of clouds) describe(cloud.name, { concurrency: 1 }, () => faultTests(cloud));
});

function faultTests(cloud: Cloud): void {
  for (const fault of FAULTS) {
    test(`${fault}: one server is made, its events say what was waited for, and it goes without a trace`, async () => {
      const { look, create: make, observe, remove } = cloud.lines;
      for (const call of [look, make, observe]) cloud.fake.next(call, fault);
      const asked = await create(cloud, { hostname: `${cloud.name}-${fault.replace('_', '-')}` });
      const operation = await ended(admin, asked.id, 60);
      assert.equal(operation.status, 'completed', String(operation.error));
      assert.equal(cloud.created.get(operation.id), 1);
      assert.deepEqual(cloud.alive(), [operation.id]);
      assert.match(await lines(operation.id), SAYS[fault]);

      for (const call of [observe, remove]) cloud.fake.next(call, fault);
      const removal = await installation.remove(operation);
      assert.equal(removal.status, 'completed', String(removal.error));
      assert.equal(cloud.fake.planned(), 0, 'a call that was to go wrong was never made');
      assert.deepEqual([cloud.alive(), cloud.disks()], [[], 0]);
      // A deletion's answer says all that is needed by its status; whether it is gone is looked for.
      if (fault !== 'garbage') assert.match(await lines(removal.id), SAYS[fault]);
    });
  }
}
