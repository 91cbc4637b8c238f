import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readText, readUserData } from './parameters.ts';

const folder = await mkdtemp(path.join(tmpdir(), 'parameters-'));
after(() => rm(folder, { recursive: true }));

async function file(content: Buffer): Promise<string> {
  const place = path.join(folder, 'file');
  await writeFile(place, content);
  return place;
}

test('a file is read in the Unicode that it is in, and refused where it is no text', async () => {
  const text = '#!/bin/sh\necho für 東京\n';
  for (const read of [readText, readUserData]) {
    assert.equal(await read(await file(Buffer.from(text)), '--file'), text);
    assert.equal(await read(await file(Buffer.from(`\ufeff${text}`, 'utf16le')), '--file'), text);
    const latin = await file(Buffer.from('p\xe4ssword', 'latin1'));
    await assert.rejects(read(latin, '--file'), { message: `--file ${latin}: it is no text in UTF-8 or UTF-16.` });
  }
});

test('user data that is compressed is kept, in base64; other files that are compressed are no text', async () => {
  const packed = gzipSync('#!/bin/sh\n');
  assert.equal(await readUserData(await file(packed), '--user-data'), packed.toString('base64'));
  await assert.rejects(readText(await file(packed), '--file'), /no text/);
});
