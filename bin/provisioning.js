#!/usr/bin/env node
// Plain JavaScript, so that a Node too old to strip types can still read it: there it hands over to the Node 24 that
// `npm ci` brought along.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 18)) {
  // Keeps what Node made of the sources: the next start takes a third of the processor time. Beside the packages and not
  // in the directory for temporary files, where others could put code of theirs; where this cannot be written, nothing is kept.
  module.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/provisioning', import.meta.url)));
  await import(main);
} else {
  const bundled = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
  if (!existsSync(bundled)) {
    console.error(`provisioning needs Node 22.18 or newer; this is ${process.version}. Run "npm ci" to get one.`);
    process.exit(1);
  }
  const child = spawn(bundled, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}
