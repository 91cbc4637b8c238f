import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startTestServer } from '../test/support/server.ts';
import { startInstallation } from './support/installation.ts';
import { processorSeconds } from './support/kernel.ts';
import { type Benchmark, plain } from './support/stats.ts';

const ROUNDS = 5;

export const startup: Benchmark = {
  name: 'startup',
  about: 'from the start of the process until it is ready and the first login is answered',
  async run() {
    const first: number[] = [];
    const next: number[] = [];
    const adopting: number[] = [];
    const external: number[] = [];
    const processor: number[] = [];
    await using installation = await startInstallation();
    for (let round = 0; round < ROUNDS; round += 1) {
      const dataDir = await mkdtemp(path.join(tmpdir(), 'provisioning-bench-'));
      await chmod(dataDir, 0o711);
      try {
        first.push((await timed({ dataDir }, 'stop')).seconds);
        next.push((await timed({ dataDir }, 'kill')).seconds);
        adopting.push((await timed({ dataDir }, 'stop')).seconds);
        const start = await timed({ databaseUrl: installation.url }, 'stop');
        external.push(start.seconds);
        processor.push(start.processor);
      } finally {
        await rm(dataDir, { recursive: true, force: true });
      }
    }
    return [
      plain('first start: makes the embedded database', first, 's'),
      plain('next start on the embedded database', next, 's'),
      plain('start after kill -9: takes the running database over', adopting, 's'),
      plain('start on an external database', external, 's'),
      plain('processor time of that start', processor, 's'),
    ];
  },
};

async function timed(where: { dataDir: string } | { databaseUrl: string }, end: 'stop' | 'kill') {
  const begun = performance.now();
  const server = await startTestServer(where);
  const seconds = (performance.now() - begun) / 1_000;
  const processor = await processorSeconds(server.process.pid ?? 0);
  if (end === 'kill') await server.kill();
  else await server[Symbol.asyncDispose]();
  return { seconds, processor };
}
