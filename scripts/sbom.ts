/**
 * Prints a CycloneDX bill of materials of what is delivered: the production dependencies, and what the dashboard's bundle is
 * made from. npm writes it out of package-lock.json, and asks nobody.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from '../src/root.ts';

interface Bom {
  metadata: { component: { 'bom-ref': string; name: string } };
  components: { 'bom-ref': string; name: string; scope: string; properties: { name: string }[] }[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

const DEVELOPMENT = 'cdx:npm:package:development';
const IMPORTED = /\bfrom '((?:@[\w.-]+\/)?[\w.-]+)|\bimport '((?:@[\w.-]+\/)?[\w.-]+)/g;

/** Packages that the dashboard's sources import. */
function dashboardPackages(): string[] {
  const directory = path.join(ROOT, 'dashboard/src');
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name));
  return files.flatMap((file) =>
    [...readFileSync(path.join(directory, file), 'utf8').matchAll(IMPORTED)].map(
      ([, from, bare]) => from ?? bare ?? '',
    ),
  );
}

const description = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  name: string;
  dependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
};
const bom = JSON.parse(
  execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  }),
) as Bom;

const dependsOn = new Map(bom.dependencies.map((one) => [one.ref, one.dependsOn]));
const nameOf = new Map(bom.components.map((one) => [one['bom-ref'], one.name]));
const { component } = bom.metadata;
const wanted = new Set([
  ...Object.keys(description.dependencies),
  ...Object.keys(description.optionalDependencies),
  ...dashboardPackages(),
]);
const direct = (dependsOn.get(component['bom-ref']) ?? []).filter((ref) => wanted.has(nameOf.get(ref) ?? ''));
const delivered = new Set<string>();
for (const left = [...direct]; left.length > 0; ) {
  const ref = left.pop() ?? '';
  if (delivered.has(ref)) continue;
  delivered.add(ref);
  left.push(...(dependsOn.get(ref) ?? []));
}

// npm calls it after the folder that it lies in.
component.name = description.name;
bom.components = bom.components.filter((one) => delivered.has(one['bom-ref'])).map(asDelivered);
bom.dependencies = bom.dependencies
  .filter(({ ref }) => delivered.has(ref) || ref === component['bom-ref'])
  .map(({ ref, dependsOn: on }) => ({ ref, dependsOn: ref === component['bom-ref'] ? direct : on }));

/** What the dashboard is made from is a development dependency to npm alone. */
function asDelivered(one: Bom['components'][number]): Bom['components'][number] {
  const properties = one.properties.filter(({ name }) => name !== DEVELOPMENT);
  return properties.length === one.properties.length ? one : { ...one, scope: 'required', properties };
}

process.stdout.write(`${JSON.stringify(bom, null, 2)}\n`);
