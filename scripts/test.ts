/**
 * Runs the files of tests that match the given patterns on one Postgres and one bundle. Most wait more than they compute
 * (for servers, clouds, leases), so two share a processor, and those that wait longest begin first: at the end no processor
 * is idle for the sake of one file. `--fast` leaves out those that start servers.
 */
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { ROOT } from '../src/root.ts';
import { isSkippedForWant } from '../test/support/needs.ts';

const FILES_PER_PROCESSOR = 2;
/** What a file imports that starts servers of its own. */
const SERVERS = /support\/(acceptance|cloud-installation|embedded|server|sshd)\.ts'/;
/** The files in which tests were skipped for want of a program, one a line: for `npm run test:skipped`. */
const SKIPPED = path.join(ROOT, 'node_modules/.skipped-tests');

process.chdir(ROOT);
process.env.NODE_COMPILE_CACHE = path.join(ROOT, 'node_modules/.cache/tests');

const [fast, patterns] = [process.argv.includes('--fast'), process.argv.slice(2).filter((word) => word !== '--fast')];
const files = globSync(patterns)
  .map((file) => ({ file, waits: waitOf(file) }))
  .filter(({ waits }) => !fast || waits === 0)
  .toSorted((a, b) => b.waits - a.waits || (a.file < b.file ? -1 : 1))
  .map(({ file }) => file);
if (files.length === 0) throw new Error(`No file matches ${patterns.join(' ')}.`);

const skipped = new Set<string>();
// The types do not know globalSetupPath yet.
const options = {
  files,
  concurrency: FILES_PER_PROCESSOR * availableParallelism(),
  globalSetupPath: path.join(ROOT, 'test/support/global-setup.ts'),
};
const tests = run(options);
tests.on('test:fail', ({ todo }) => {
  if (todo === undefined || todo === false) process.exitCode = 1;
});
tests.on('test:pass', ({ skip, file }) => {
  if (file !== undefined && isSkippedForWant(skip)) skipped.add(path.relative(ROOT, file));
});
tests.on('end', () => writeFileSync(SKIPPED, [...skipped].map((file) => `${file}\n`).join('')));
tests.compose(spec).pipe(process.stdout);

/** How long a file is likely to wait: 0: not at all. */
function waitOf(file: string): number {
  if (file.startsWith('test/recovery/')) return 2;
  return SERVERS.test(readFileSync(file, 'utf8')) ? 1 : 0;
}
