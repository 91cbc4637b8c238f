/** Hosts say as much as they like: they are read no faster than what they say is taken, and within a part of this process's time. */
import type { Readable } from 'node:stream';

/** Of this process's time, for what all hosts say. */
const SHARE = 0.3;
/** So far ahead of its share reading may be before it rests, and so long it rests at most. Milliseconds. */
const BURST_MS = 200;
const MAX_REST_MS = 500;

/** When reading is within its share again, by the monotonic clock. */
let due = 0;

/** @returns for how long to rest after work of this length. Milliseconds. */
function restAfter(spent: number): number {
  const now = performance.now();
  due = Math.min(Math.max(due, now) + spent / SHARE, now + BURST_MS + MAX_REST_MS);
  return Math.max(0, due - now - BURST_MS);
}

/** @param take settles, where it answers a promise, when more can be taken. */
export function readAsTaken(readable: Readable, take: (chunk: Buffer) => Promise<void> | undefined): void {
  readable.on('data', (chunk: Buffer) => {
    const taken = take(chunk);
    if (taken === undefined) return;
    readable.pause();
    const goOn = () => void readable.resume();
    // What went wrong with a line is told to whoever wrote it.
    taken.then(goOn, goOn);
  });
}

/** Call it when others listen to its data already: what they spend on each piece counts. @param alive is told of each. */
export function pace(readable: Readable, alive: () => void = () => {}): void {
  let begun = 0;
  readable.prependListener('data', () => {
    begun = performance.now();
  });
  readable.on('data', () => {
    alive();
    const rest = restAfter(performance.now() - begun);
    if (rest === 0) return;
    readable.pause();
    setTimeout(() => readable.resume(), rest).unref();
  });
}
