import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RunOptions, type Transport, TransportError } from './contract.ts';
import { runJob } from './job.ts';

test('a job ends in its time, whatever its host says of how long it has run', async () => {
  for (const later of ['s-1000000', 'sno number']) {
    let attached = 0;
    const host: Transport = {
      host: 'hostile',
      async run(_script: string, { label, onLine }: RunOptions) {
        if (label === 'ending a job') return { exitCode: 0, signal: null };
        attached += 1;
        onLine?.({ stream: 'stdout', text: attached === 1 ? 's0' : later });
        onLine?.({ stream: 'stdout', text: 'oanother line' });
        throw new TransportError('CONNECTION_LOST', 'it cuts each connection');
      },
      upload: async () => {},
      close: async () => {},
    };
    const begun = performance.now();
    await assert.rejects(runJob(host, { id: 'job', script: 'true', env: {}, timeoutSeconds: 1 }), { code: 'TIMEOUT' });
    assert.ok(attached > 1);
    assert.ok(performance.now() - begun < 10_000);
  }
});
