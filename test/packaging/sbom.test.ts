import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Component {
  'bom-ref': string;
  name: string;
  version: string;
  purl: string;
  scope: string;
  hashes?: { alg: string; content: string }[];
  licenses?: unknown[];
}

interface Bom {
  bomFormat: string;
  specVersion: string;
  metadata: { component: { name: string; version: string; 'bom-ref': string } };
  components: Component[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

test('the bill of materials names everything that is delivered, by version and hash, and nothing else', () => {
  const bom = JSON.parse(execFileSync(process.execPath, ['scripts/sbom.ts'], { cwd: ROOT, encoding: 'utf8' })) as Bom;
  const description = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
    dependencies: Record<string, string>;
    optionalDependencies: Record<string, string>;
  };
  assert.deepEqual([bom.bomFormat, bom.specVersion], ['CycloneDX', '1.5']);
  const { name, version } = bom.metadata.component;
  assert.deepEqual([name, version], ['provisioning', description.version]);

  const versions = new Map(bom.components.map((one) => [`${one.name}@${one.version}`, one]));
  const direct = Object.entries({ ...description.dependencies, ...description.optionalDependencies });
  for (const [dependency, wanted] of direct) assert.ok(versions.has(`${dependency}@${wanted}`), dependency);
  const names = new Set(bom.components.map((one) => one.name));
  // In the dashboard's bundle; and what builds and tests, which is delivered to nobody.
  for (const part of ['react', 'react-dom', '@mantine/core', 'scheduler']) assert.ok(names.has(part), part);
  for (const tool of ['typescript', 'vite', 'knip', 'playwright-core']) assert.ok(!names.has(tool), tool);

  assert.equal(bom.components.find((one) => one.name === 'react')?.scope, 'required');
  for (const { name: package_, purl, hashes } of bom.components) {
    assert.match(purl, /^pkg:npm\/.+@.+$/, package_);
    assert.ok(
      hashes?.some(({ alg }) => alg === 'SHA-512'),
      `${package_} has no hash`,
    );
  }
  // Their package.json names the license (MIT) in a form that npm no longer reads.
  const unlicensed = bom.components.filter(({ licenses }) => (licenses ?? []).length === 0);
  assert.deepEqual(
    unlicensed.map((one) => one.name),
    ['buildcheck', 'cpu-features', 'ssh2'],
  );
  const known = new Set([bom.metadata.component['bom-ref'], ...bom.components.map((one) => one['bom-ref'])]);
  for (const { ref, dependsOn } of bom.dependencies)
    for (const each of [ref, ...dependsOn]) assert.ok(known.has(each), `${ref} depends on ${each}, which is missing`);
  assert.doesNotMatch(JSON.stringify(bom), /https?:\/\/(?!cyclonedx\.org)/, 'it names where packages came from');
});
