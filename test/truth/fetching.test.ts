/** What makes the other files here skip, and what must not. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { needs } from '../support/needs.ts';
import { openGo } from './go.ts';
import { openPython } from './python.ts';

const strict = Boolean(process.env.PROVISIONING_TEST_NO_SKIP) && 'this provider of packages may lack nothing here';

test('a Go program that does not compile fails', { skip: needs('go') }, async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'truth-'));
  await writeFile(path.join(folder, 'go.mod'), 'module broken\n\ngo 1.19\n');
  await writeFile(path.join(folder, 'main.go'), 'package main\n\nfunc main() { return 1 }\n');
  await assert.rejects(openGo(folder), /too many return values|too many arguments to return/);
  await rm(folder, { recursive: true });
});

test('a version that there is not fails', { skip: needs('python3') }, async () => {
  const index = createServer((_, response) => {
    response.setHeader('content-type', 'text/html').end('<a href="boto3-1.0.0-py3-none-any.whl">boto3</a>');
  });
  await once(index.listen(0, '127.0.0.1'), 'listening');
  process.env.PIP_INDEX_URL = `http://127.0.0.1:${(index.address() as AddressInfo).port}/simple`;
  try {
    await assert.rejects(openPython(['boto3==0.0.0']), /No matching distribution/);
  } finally {
    delete process.env.PIP_INDEX_URL;
    index.close();
  }
});

test('a registry that is away is told, and skips', { skip: strict || needs('python3') }, async () => {
  process.env.PIP_INDEX_URL = 'http://127.0.0.1:9/simple';
  const { skip } = await openPython(['boto3==0.0.1']);
  delete process.env.PIP_INDEX_URL;
  assert.match(String(skip), /needs boto3==0\.0\.1 from PyPI/);
});
