// Plain JavaScript, because bin/provisioning.js needs it before anything can strip types. Types: bundle.d.ts.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const BUNDLES = 'dist/server';
const BUILD_SCRIPT = 'scripts/build-server.ts';

export function bundleDirectory(root) {
  return path.join(root, BUNDLES, bundleKey(root));
}

export function currentBundle(root) {
  const directory = existsSync(path.join(root, BUILD_SCRIPT)) ? bundleDirectory(root) : newestBundle(root);
  const start = path.join(directory ?? '', 'start.js');
  return directory !== null && existsSync(start) ? start : null;
}

/** Changes with everything that the bundle is made of. */
function bundleKey(root) {
  const hash = createHash('sha256');
  const sources = readdirSync(path.join(root, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => path.join('src', name));
  const migrations = readdirSync(path.join(root, 'migrations'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => path.join('migrations', name));
  for (const name of ['package.json', 'package-lock.json', BUILD_SCRIPT, ...sources.sort(), ...migrations.sort()]) {
    const content = readFileSync(path.join(root, name));
    hash.update(`${name}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex').slice(0, 16);
}

/** For an installation without the sources, such as the container image: it has one bundle, and nothing to compare it with. */
function newestBundle(root) {
  const directory = path.join(root, BUNDLES);
  if (!existsSync(directory)) return null;
  const made = (name) => statSync(path.join(directory, name)).mtimeMs;
  const names = readdirSync(directory)
    .filter((name) => !name.startsWith('.'))
    .sort((a, b) => made(b) - made(a));
  return names[0] === undefined ? null : path.join(directory, names[0]);
}
