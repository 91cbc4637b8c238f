/** `npm run bench [-- name…]`: measures, and prints a table in Markdown. What it says is in docs/benchmarks.md. */
import { cpus } from 'node:os';
import { accept } from './accept.ts';
import { backlogs } from './backlog.ts';
import { carryOut } from './carry-out.ts';
import { cliLists } from './cli-lists.ts';
import { dashboard } from './dashboard.ts';
import { hostile } from './hostile.ts';
import { hosts } from './hosts.ts';
import { idle } from './idle.ts';
import { lists } from './lists.ts';
import { memory } from './memory.ts';
import { reads } from './reads.ts';
import { startup } from './startup.ts';
import type { Benchmark, Line } from './support/stats.ts';
import { workflows } from './workflows.ts';

const BENCHMARKS: Benchmark[] = [
  accept,
  carryOut,
  ...backlogs,
  reads,
  lists,
  memory,
  startup,
  idle,
  ...workflows,
  dashboard,
  cliLists,
  hosts,
  hostile,
];

const names = process.argv.slice(2);
const unknown = names.filter((name) => !BENCHMARKS.some((benchmark) => benchmark.name === name));
if (unknown.length > 0) {
  console.error(`There is no benchmark ${unknown.join(', ')}. There are: ${BENCHMARKS.map((b) => b.name).join(', ')}.`);
  process.exit(2);
}
console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}\n`);
for (const benchmark of BENCHMARKS.filter(({ name }) => names.length === 0 || names.includes(name))) {
  console.log(`## ${benchmark.name}: ${benchmark.about}\n`);
  const missing = await benchmark.missing?.();
  if (typeof missing === 'string') {
    console.log(`Left out: ${missing}\n`);
    continue;
  }
  const lines = await benchmark.run((line) => console.error(`  ${line}`));
  console.log(table(lines), '\n');
}

function table(lines: Line[]): string {
  const rows = lines.map((line) => [line.what, line.ours, line.floor, ratio(line), verdict(line)]);
  const head = ['what', 'ours', 'floor', 'ratio (range)', 'aim'];
  const widths = head.map((title, column) => Math.max(...[head, ...rows].map((row) => (row[column] ?? title).length)));
  const print = (row: string[]) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [print(head), print(widths.map((width) => '-'.repeat(width))), ...rows.map(print)].join('\n');
}

function ratio({ ratio: found }: Line): string {
  return found === null ? '' : `${found.median.toFixed(2)} (${found.least.toFixed(2)} to ${found.most.toFixed(2)})`;
}

function verdict({ ratio: found, aim }: Line): string {
  if (aim === null || found === null) return '';
  const [sign, bound, met] =
    'atLeast' in aim ? ['≥', aim.atLeast, found.median >= aim.atLeast] : ['≤', aim.atMost, found.median <= aim.atMost];
  return `${sign} ${bound} ${met ? 'met' : 'MISSED'}`;
}
