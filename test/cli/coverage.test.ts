import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { COMMANDS } from '../../src/cli/program.ts';

/** What no command stands for, and why. */
const EXCEPTIONS: Record<string, string> = {};

test('every request of the API has a command', async () => {
  const file = new URL('../../openapi/openapi.json', import.meta.url);
  const { paths } = JSON.parse(await readFile(file, 'utf8')) as { paths: Record<string, Record<string, unknown>> };
  const requests = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const covered = new Set(COMMANDS.flatMap(({ covers }) => covers));
  const missing = requests.filter((request) => !covered.has(request) && EXCEPTIONS[request] === undefined);
  assert.deepEqual(missing, [], 'give them a command, or an exception with its reason');
  const unknown = [...covered].filter((request) => !requests.includes(request) && request !== 'GET /openapi.json');
  assert.deepEqual(unknown, [], 'commands for requests that do not exist');
});

test('every command teaches by an example that begins as it is called', () => {
  for (const { name, examples } of COMMANDS) {
    assert.ok(examples.length > 0, name);
    assert.ok(
      examples.some((example) => example.includes(`provisioning ${name}`)),
      `${name}: ${examples.join('; ')}`,
    );
  }
});
