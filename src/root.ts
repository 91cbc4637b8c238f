/**
 * Where the files of this package lie that are read while it runs. The same module is part of the sources (src/) and of
 * the server's bundle (dist/server/<key>/), so nothing else may build a path from `import.meta`.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

/** The directory of package.json. */
export const ROOT = packageRoot(import.meta.dirname);

/** Loads a CommonJS package of this package's dependencies, at the moment of the call. */
export const requirePackage = createRequire(path.join(ROOT, 'package.json'));

/** What each thread that evaluates starts with (src/evaluation). */
export const EVALUATOR = evaluatorOf(import.meta.dirname);

/** Where the migrations lie: TypeScript beside the sources, JavaScript in the bundle. */
export const MIGRATIONS = migrationsOf(import.meta.dirname);

function migrationsOf(bundle: string): string {
  const own = path.join(bundle, 'migrations');
  return existsSync(own) ? own : path.join(ROOT, 'migrations');
}

function evaluatorOf(bundle: string): string {
  const own = path.join(bundle, 'evaluator.js');
  return existsSync(own) ? own : path.join(ROOT, 'src/evaluator.ts');
}

function packageRoot(start: string): string {
  for (let directory = start; ; directory = path.dirname(directory)) {
    if (existsSync(path.join(directory, 'package.json'))) return directory;
    if (directory === path.dirname(directory)) throw new Error(`There is no package.json above ${start}.`);
  }
}
