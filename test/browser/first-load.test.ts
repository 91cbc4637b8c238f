import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';

const DIST = new URL('../../dist/dashboard/', import.meta.url);
const BUDGET = 250 * 1_024;

interface Chunk {
  file: string;
  imports?: string[];
  isEntry?: boolean;
}

test('the first load is at most 250 KB of JavaScript, compressed', async () => {
  const manifest = JSON.parse(await readFile(new URL('.vite/manifest.json', DIST), 'utf8')) as Record<string, Chunk>;
  const needed = new Set<string>();
  const need = (name: string) => {
    const chunk = manifest[name];
    if (chunk === undefined || needed.has(chunk.file)) return;
    needed.add(chunk.file);
    chunk.imports?.forEach(need);
  };
  for (const [name, { isEntry }] of Object.entries(manifest)) if (isEntry) need(name);
  const sizes = await Promise.all([...needed].map(async (file) => (await stat(new URL(`${file}.gz`, DIST))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(needed.size > 0 && total <= BUDGET, `${total} bytes in ${[...needed].join(', ')}`);
});
