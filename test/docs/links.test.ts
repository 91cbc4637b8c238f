import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Folders that are not the repository's own: git's, and those that .gitignore names. */
const IGNORED = ['.git', ...(await ignoredFolders())];

async function ignoredFolders(): Promise<string[]> {
  const lines = (await readFile(path.join(ROOT, '.gitignore'), 'utf8')).split('\n');
  return lines.filter((line) => line.endsWith('/')).map((line) => line.slice(0, -1));
}

/** The pages in a folder of the repository and below, new ones too. Without git, which not every machine has. */
async function pages(folder = ''): Promise<string[]> {
  const entries = await readdir(path.join(ROOT, folder), { withFileTypes: true });
  const found = entries
    .filter(({ name }) => !IGNORED.includes(name))
    .map(async (entry) => {
      const name = path.join(folder, entry.name);
      if (entry.isDirectory()) return pages(name);
      return entry.isFile() && name.endsWith('.md') ? [name] : [];
    });
  return (await Promise.all(found)).flat().toSorted();
}

/** Without code, in which brackets mean something else. */
function prose(markdown: string): string {
  return markdown.replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, '').replaceAll(/(?<!\[)`[^`\n]*`(?!\])/g, '');
}

/** The anchors of a page: its headings, as the renderers of Markdown name them. */
function anchors(markdown: string): Set<string> {
  const found = new Set<string>();
  const headings = markdown.replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, '').matchAll(/^#{1,6} +(.+?) *$/gm);
  for (const [, heading = ''] of headings) {
    const base = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    let name = base;
    for (let count = 1; found.has(name); count += 1) name = `${base}-${count}`;
    found.add(name);
  }
  return found;
}

test('every link between pages leads to a file that exists, and to a heading in it', async () => {
  const broken: string[] = [];
  for (const page of await pages()) {
    const text = await readFile(path.join(ROOT, page), 'utf8');
    for (const [, target = ''] of prose(text).matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const found = file === '' ? path.join(ROOT, page) : path.resolve(ROOT, path.dirname(page), decodeURI(file));
      if (!existsSync(found)) broken.push(`${page}: ${target}`);
      else if (anchor !== undefined && found.endsWith('.md') && !anchors(await readFile(found, 'utf8')).has(anchor))
        broken.push(`${page}: ${target} (no such heading)`);
    }
  }
  assert.deepEqual(broken, []);
});

test('every page of the documentation can be reached from its index', async () => {
  const reached = new Set<string>();
  const follow = async (page: string): Promise<void> => {
    if (reached.has(page) || !existsSync(path.join(ROOT, page))) return;
    reached.add(page);
    const text = await readFile(path.join(ROOT, page), 'utf8');
    for (const [, target = ''] of prose(text).matchAll(/\]\(([^)\s#]+)/g)) {
      const next = path.join(path.dirname(page), target);
      if (target.endsWith('.md')) await follow(next);
      else if (next === 'docs/decisions' || next === 'docs/decisions/')
        for (const file of (await pages()).filter((name) => name.startsWith('docs/decisions/'))) reached.add(file);
    }
  };
  await follow('docs/README.md');
  const lost = (await pages()).filter((page) => page.startsWith('docs/') && !reached.has(page));
  assert.deepEqual(lost, [], 'link them from docs/README.md');
});
