/**
 * The way into a server of the simulated cloud: runs nothing, answers with plausible lines after its latency, fails on
 * demand, and enters in the cloud's books what it was asked to run (`simulated_cloud.runs`), so that a test can prove
 * "ran once" from them.
 */

import type { Database } from '../database/pool.ts';
import { happens, type SimulatedFaults } from '../providers/simulated/faults.ts';
import {
  attachJob,
  dropMark,
  endJob,
  enterRun,
  finishJob,
  isInstalled,
  isJobEntered,
  isOn,
  isToFail,
  isToHang,
  keepMark,
  readMarks,
} from '../providers/simulated/runs.ts';
import { sleep } from '../util/sleep.ts';
import { type Job, type Line, type RunOptions, type RunResult, type Transport, TransportError } from './contract.ts';

/** A job takes this many times what a script does. */
const JOB_FACTOR = 4;
/** How long a job that is told to hang runs at most, and how often it asks whether it still is. Milliseconds. */
const HANG_MS = 3_600_000;
const HANG_LOOK_MS = 50;
/** Files of this directory are the marks of what is installed: they are kept, to be told when somebody looks around. */
const MARK = /^\/var\/lib\/provisioning\/taskservs\/([a-z0-9-]+)$/;

/** @param options `ref`: the server's. `latencyMs`: how long a script takes, and a quarter of a job. */
export function createSimulatedTransport(options: {
  db: Database;
  ref: string;
  host: string;
  latencyMs: number;
  faults: SimulatedFaults;
}): Transport {
  const { db, ref, host, latencyMs, faults } = options;

  const reach = async () => {
    if (happens(faults, 'unreachable')) throw new TransportError('UNREACHABLE', `${host}: no answer (simulated).`);
    if (await isOn(db, ref)) return;
    throw new TransportError('UNREACHABLE', `${host}: the simulated server is not running.`);
  };
  const fails = async (label = '') => happens(faults, 'script_fails') || (await isToFail(db, ref, label));
  const lost = () => new TransportError('CONNECTION_LOST', `${host}: the connection was lost (simulated).`);

  const run = async ({ signal, timeoutSeconds, onLine, label }: RunOptions): Promise<RunResult> => {
    signal?.throwIfAborted();
    await reach();
    await pause(host, latencyMs, { signal, timeoutSeconds, label });
    const checked = /^check (.+)$/.exec(label ?? '')?.[1];
    const healthy = checked === undefined || (await isInstalled(db, ref, checked));
    const exitCode = healthy && !(await fails(label)) ? 0 : 1;
    const forgotten = /^forget (.+)$/.exec(label ?? '')?.[1];
    if (forgotten !== undefined && exitCode === 0) await dropMark(db, ref, forgotten);
    const answerLost = happens(faults, 'connection_lost');
    await enterRun(db, { ref, kind: 'run', label: label ?? null, exitCode: answerLost ? null : exitCode });
    if (answerLost) throw lost();
    const marks = label === 'look around' ? await readMarks(db, ref) : [];
    for (const { name, mark } of marks) onLine?.({ stream: 'stdout', text: `installed ${name} ${mark}` });
    for (const line of linesOf(label, exitCode)) onLine?.(line);
    return { exitCode, signal: null };
  };

  const runJob = async (job: Job): Promise<RunResult> => {
    const { signal, label, fromLine = 1 } = job;
    signal?.throwIfAborted();
    await reach();
    const hangs = () => isToHang(db, ref, label ?? '');
    const hung = await hangs();
    const asked = {
      ref,
      jobId: job.id,
      label: label ?? null,
      durationMs: hung ? HANG_MS : latencyMs * JOB_FACTOR,
      exitCode: (await fails(label)) ? 1 : 0,
    };
    let { age, left, exitCode } = await attachJob(db, asked);
    // The connection is made again, and the job is still there.
    if (happens(faults, 'connection_lost')) ({ age, left, exitCode } = await attachJob(db, asked));
    try {
      if (hung) {
        while (await hangs()) await pause(host, HANG_LOOK_MS, { signal, timeoutSeconds: job.timeoutSeconds, label });
        await finishJob(db, ref, job.id);
        left = 0;
      }
      await pause(host, left, { signal, timeoutSeconds: Math.max(0, job.timeoutSeconds - age / 1_000), label });
    } catch (error) {
      if (!(signal?.aborted === true && isHandOver(signal.reason))) await endJob(db, ref, job.id);
      throw error;
    }
    if (exitCode === null) return { exitCode: null, signal: 'SIGTERM' };
    for (const [index, line] of linesOf(label, exitCode).entries()) {
      if (index + 1 >= fromLine) job.onLine?.(line, index + 1);
    }
    return { exitCode, signal: null };
  };

  return {
    host,
    run: (_script, runOptions) => run(runOptions),
    runJob,
    isJobBegun: (id) => isJobEntered(db, ref, id),
    async upload(content, path, { signal }) {
      signal?.throwIfAborted();
      await reach();
      const marked = MARK.exec(path)?.[1];
      if (marked !== undefined) await keepMark(db, ref, marked, content.toString().trim());
      await enterRun(db, { ref, kind: 'upload', label: path, exitCode: 0 });
    },
    close: async () => {},
  };
}

/** The same for the same question, so that a job's lines keep their numbers. */
function linesOf(label = 'script', exitCode: number): Line[] {
  const failed: Line[] = [{ stream: 'stderr', text: `simulated: ${label}: failed` }];
  const succeeded: Line[] = [{ stream: 'stdout', text: `simulated: ${label}: done` }];
  return [{ stream: 'stdout', text: `simulated: ${label}: begun` }, ...(exitCode === 0 ? succeeded : failed)];
}

function isHandOver(reason: unknown): boolean {
  return reason instanceof Error && 'code' in reason && reason.code === 'HANDED_OVER';
}

/** @throws the signal's reason; TIMEOUT. */
async function pause(
  host: string,
  ms: number,
  { signal, timeoutSeconds, label }: Pick<RunOptions, 'signal' | 'timeoutSeconds' | 'label'>,
): Promise<void> {
  const limit = timeoutSeconds * 1_000;
  await sleep(Math.min(ms, limit), signal);
  if (ms > limit) {
    const what = label ?? 'the script';
    throw new TransportError('TIMEOUT', `${host}: ${what} did not end within ${timeoutSeconds} s and was stopped.`);
  }
}
