/**
 * Runs the files of tests that match the given patterns on one Postgres and one bundle. Most wait more than they compute
 * (for servers, clouds, leases), so two share a processor, and those that wait longest begin first: at the end no processor
 * is idle for the sake of one file. `--fast` leaves out those that start servers. `--skipped` adds those in which the last
 * run skipped tests for want of a program; what is missing now is a failure.
 */
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { ROOT } from '../src/root.ts';
import { isSkippedForWant } from '../test/support/needs.ts';

const FILES_PER_PROCESSOR = 2;
/** What a file imports that starts servers of its own. */
const SERVERS = /support\/(acceptance|cloud-installation|embedded|server|sshd)\.ts'/;
/** The files in which tests were skipped for want of a program, one a line. */
const SKIPPED = path.join(ROOT, 'node_modules/.skipped-tests');

process.chdir(ROOT);
process.env.NODE_COMPILE_CACHE = path.join(ROOT, 'node_modules/.cache/tests');

const { values: options, positionals: patterns } = parseArgs({
  options: { fast: { type: 'boolean', default: false }, skipped: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const repeated =
  options.skipped && existsSync(SKIPPED) ? readFileSync(SKIPPED, 'utf8').split('\n').filter(Boolean) : [];
if (options.skipped && repeated.length + patterns.length === 0) {
  console.log('The last run skipped no tests.');
  process.exit();
}
if (options.skipped) process.env.PROVISIONING_TEST_NO_SKIP = '1';
const files = [...new Set([...repeated, ...globSync(patterns)])]
  .map((file) => ({ file, waits: waitOf(file) }))
  .filter(({ waits }) => !options.fast || waits === 0)
  .toSorted((a, b) => b.waits - a.waits || (a.file < b.file ? -1 : 1))
  .map(({ file }) => file);
if (files.length === 0) throw new Error(`No file matches ${patterns.join(' ')}.`);

const skipped = new Set<string>();
// The types do not know globalSetupPath yet.
const settings = {
  files,
  concurrency: FILES_PER_PROCESSOR * availableParallelism(),
  globalSetupPath: path.join(ROOT, 'test/support/global-setup.ts'),
};
const tests = run(settings);
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
