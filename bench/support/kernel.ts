/** What Linux says of a process. */
import { readFile, writeFile } from 'node:fs/promises';

/** `clock_gettime` ticks a second: what /proc counts in, everywhere. */
const TICKS = 100;

/** Mebibytes: `VmRSS` now, `VmHWM` the most since `forgetPeak` or the start. */
export async function residentMebibytes(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1_024;
}

export async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

/** Seconds of processor time so far. */
export async function processorSeconds(pid: number): Promise<number> {
  const [, fields = ''] = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ');
  const [user, system] = fields.split(' ').slice(11, 13).map(Number);
  return ((user ?? 0) + (system ?? 0)) / TICKS;
}
