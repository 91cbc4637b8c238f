import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { parse } from 'yaml';
import { makeServer, startInstallation } from '../support/acceptance.ts';

const installation = await startInstallation();
after(() => installation.close());

/** Names of metrics in a query. */
const METRIC = /\b(?:provisioning|nodejs|process)_[a-z0-9_]+\b/g;

async function exposed(): Promise<Set<string>> {
  await makeServer(installation.server.admin, 'seen');
  const { body } = await installation.server.admin.request<string>('GET', '/metrics');
  const names = new Set<string>();
  for (const [, name = '', type] of String(body).matchAll(/^# TYPE (\S+) (\w+)$/gm)) {
    names.add(name);
    if (type === 'histogram') for (const part of ['bucket', 'sum', 'count']) names.add(`${name}_${part}`);
  }
  return names;
}

async function text(file: string): Promise<string> {
  return readFile(new URL(`../../deploy/${file}`, import.meta.url), 'utf8');
}

const names = await exposed();

test('every metric in the alert rules and the dashboard is one that the server exposes', async () => {
  const rules = parse(await text('prometheus/rules.yaml')) as { groups: { rules: { expr: string }[] }[] };
  const dashboard = JSON.parse(await text('grafana/provisioning.json')) as {
    panels: { title: string; targets: { expr: string }[] }[];
  };
  const queries = [
    ...rules.groups.flatMap((group) => group.rules.map(({ expr }) => expr)),
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  ];
  assert.ok(queries.length > 20);
  const unknown = queries.flatMap((query) => query.match(METRIC) ?? []).filter((name) => !names.has(name));
  assert.deepEqual([...new Set(unknown)], []);
});

test('every metric of ours is on the dashboard', async () => {
  const shown = new Set((await text('grafana/provisioning.json')).match(METRIC));
  const missing = [...names].filter(
    (name) =>
      name.startsWith('provisioning_') &&
      !/_(bucket|sum|count)$/.test(name) &&
      !shown.has(name) &&
      !shown.has(`${name}_count`),
  );
  assert.deepEqual(missing, []);
});
