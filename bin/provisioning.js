#!/usr/bin/env node
// Plain JavaScript, so that a Node too old to strip types can still read it: there it hands over to the Node 24 that
// `npm ci` brought along.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { currentBundle } from './bundle.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 18)) {
  const bundle = currentBundle(root);
  // Keeps what Node made of the sources: the next start takes a third of the processor time. Beside the packages and not
  // in the directory for temporary files, where others could put code of theirs; where this cannot be written, nothing is
  // kept. The bundle does the same for itself.
  if (bundle === null) module.enableCompileCache(path.join(root, 'node_modules/.cache/provisioning'));
  await import(pathToFileURL(bundle ?? path.join(root, 'src/main.ts')).href);
} else {
  const bundled = path.join(root, 'node_modules/node/bin/node');
  if (!existsSync(bundled)) {
    console.error(`provisioning needs Node 22.18 or newer; this is ${process.version}. Run "npm ci" to get one.`);
    process.exit(1);
  }
  const child = spawn(bundled, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}
