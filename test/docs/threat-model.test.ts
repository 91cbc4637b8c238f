import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = 'docs/threat-model.md';
/** A cell that names a test: a link to its file, and its name, or what is the same in many names. */
const EVIDENCE = /^\[[^\]]+\]\(([^)]+\.test\.ts)\) "(.+)"$/;

test('each line of the threat model names a test that there is', async () => {
  const text = await readFile(path.join(ROOT, PAGE), 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('|') && !/^\| *(tries to|-)/.test(line));
  assert.ok(rows.length > 30);
  for (const row of rows) {
    const cells = row.split(/(?<!\\)\|/).map((cell) => cell.trim());
    assert.equal(cells.length, 5, row);
    const [, file = '', name = ''] = EVIDENCE.exec(cells[3] ?? '') ?? [];
    assert.notEqual(file, '', `names no test: ${row}`);
    const source = await readFile(path.resolve(ROOT, path.dirname(PAGE), file), 'utf8');
    const written = [name, name.replaceAll("'", "\\'"), name.replaceAll('`', '\\`')];
    assert.ok(
      written.some((one) => new RegExp(`\\b(test|describe)\\([^\\n]*${escaped(one)}`).test(source)),
      `${file} has no test "${name}"`,
    );
  }
});

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
