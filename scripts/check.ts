/**
 * Everything that is held against the sources without running them: types, lint, format, import rules, what nobody uses,
 * and whether generated files are up to date. As many at once as there are processors, the longest first.
 *
 *   node scripts/check.ts [--fast]     --fast: types, lint and format alone
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { buffer } from 'node:stream/consumers';
import { ROOT } from '../src/root.ts';

const QUICK = [['tsc'], ['tsc', '-p', 'dashboard'], ['biome', 'check', '--error-on-warnings', '.']];
const REST = [
  ['depcruise', '--config', '.dependency-cruiser.json', 'src', 'test', 'scripts'],
  ['node', 'scripts/generated.ts', '--check'],
  ['knip'],
];

/** Runs it, and prints what it says when it has ended. @returns whether it found nothing wrong. */
async function check([program = '', ...args]: string[]): Promise<boolean> {
  // npm has put the programs of its packages on the path.
  const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  const [status, ...output] = await Promise.all([exit, buffer(child.stdout), buffer(child.stderr)]);
  process.stdout.write(`${status === 0 ? 'ok' : 'failed'}: ${[program, ...args].join(' ')}\n`);
  if (status !== 0) process.stdout.write(Buffer.concat(output));
  return status === 0;
}

const waiting = process.argv.includes('--fast') ? QUICK : [...QUICK, ...REST];
async function work(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (!(await check(next))) process.exitCode = 1;
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work));
