import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

const ROOT = fileURLToPath(new URL('.', import.meta.url));
const OUT = path.join(ROOT, '../dist/dashboard');
const OPENAPI = path.join(ROOT, '../openapi/openapi.json');

/** Writes each file compressed beside itself: the server sends it as it is. */
function compressed(): Plugin {
  return {
    name: 'compressed',
    apply: 'build',
    async closeBundle() {
      for (const name of await readdir(OUT, { recursive: true })) {
        if (!/\.(js|css|html)$/.test(name)) continue;
        const file = path.join(OUT, name);
        await writeFile(`${file}.gz`, await promisify(gzip)(await readFile(file), { level: 9 }));
      }
    },
  };
}

interface OpenApi {
  paths: Record<string, Record<string, { requestBody?: { content: Record<string, { schema: unknown }> } }>>;
  components: { schemas: Record<string, unknown> };
}

/** The schema with what it refers to by name in its place. */
function withoutReferences(value: unknown, named: Record<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutReferences(item, named));
  if (typeof value !== 'object' || value === null) return value;
  if ('$ref' in value) return withoutReferences(named[String(value.$ref).split('/').at(-1) ?? ''], named);
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, withoutReferences(child, named)]));
}

/**
 * `import schema from 'virtual:body/v1/servers/create'`: the JSON Schema of what a POST to this path takes (`?put`: a
 * PUT), from the API's description, without the rest of it.
 */
function requestBodies(): Plugin {
  const prefix = 'virtual:body';
  return {
    name: 'request-bodies',
    resolveId: (id) => (id.startsWith(prefix) ? `\0${id}` : undefined),
    async load(id) {
      if (!id.startsWith(`\0${prefix}`)) return undefined;
      const { paths, components } = JSON.parse(await readFile(OPENAPI, 'utf8')) as OpenApi;
      const [route = '', method = 'post'] = id.slice(prefix.length + 1).split('?');
      const schema = paths[route]?.[method]?.requestBody?.content['application/json']?.schema;
      if (schema === undefined) throw new Error(`${id}: ${OPENAPI} knows no such request with a body`);
      return `export default ${JSON.stringify(withoutReferences(schema, components.schemas))}`;
    },
  };
}

export default defineConfig({
  root: ROOT,
  plugins: [react(), requestBodies(), compressed()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    // What belongs to the first load is told by it: test/browser/first-load.test.ts.
    manifest: true,
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:8083', '/health': 'http://127.0.0.1:8083' } },
});
