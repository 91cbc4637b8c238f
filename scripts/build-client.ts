/**
 * Builds what is published, into dist/client: the client library as plain JavaScript with types, the command line, the
 * manual pages. Nothing of the server is in it.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = path.join(ROOT, 'dist/client');
/** What the published code imports; the versions are those of the server. */
const DEPENDENCIES = ['@modelcontextprotocol/server', 'commander', 'eventsource-parser', 'typebox', 'yaml'];

const own = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
  license: string;
  dependencies: Record<string, string>;
};

rmSync(OUT, { recursive: true, force: true });
// The command line first: the library's own configuration, which knows nothing of Node, has the last word on its files.
for (const project of ['tsconfig.cli.json', 'tsconfig.client.json']) {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', project], { cwd: ROOT, stdio: 'inherit' });
}
cpSync(path.join(ROOT, 'man'), path.join(OUT, 'man'), { recursive: true });
cpSync(path.join(ROOT, 'LICENSE'), path.join(OUT, 'LICENSE'));
cpSync(path.join(ROOT, 'docs/guides/client-library.md'), path.join(OUT, 'README.md'));
const description = {
  name: 'provisioning',
  version: own.version,
  description: 'Client library and command line of Provisioning',
  license: own.license,
  type: 'module',
  engines: { node: '>=22.18' },
  bin: { provisioning: 'cli/main.js' },
  directories: { man: './man' },
  exports: { './client': { types: './sdk/client.d.ts', default: './sdk/client.js' } },
  dependencies: Object.fromEntries(Object.entries(own.dependencies).filter(([name]) => DEPENDENCIES.includes(name))),
};
writeFileSync(path.join(OUT, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);
