import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SEED } from '../../test/support/seed.ts';
import { sharedBudget } from '../evaluation/pool.ts';
import {
  type ConfigProperty,
  loadCatalog,
  renderScripts,
  resolveOrder,
  resolveVersion,
  resolveConfig as resolveWithin,
  type TaskservDefinition,
} from './catalog.ts';
import { DEFAULT_TIMEOUTS } from './definition.ts';

fc.configureGlobal({ seed: SEED });

const resolveConfig = (of: TaskservDefinition, config: Record<string, unknown>) =>
  resolveWithin(of, config, sharedBudget('test'));

function definition(name: string, more: Partial<TaskservDefinition> = {}): TaskservDefinition {
  return {
    name,
    summary: 'A test',
    source: 'workspace',
    versions: { default: 'distro', supported: ['distro', '7.0'], upgrade: 'any' },
    requires: [],
    conflicts: [],
    platforms: ['debian-12'],
    config: {},
    timeouts: DEFAULT_TIMEOUTS,
    ports: [],
    cluster: null,
    scripts: { install: '', check: '', remove: '' },
    ...more,
  };
}

const hard = (...names: string[]) => names.map((name) => ({ name, type: 'hard' as const }));
const soft = (...names: string[]) => names.map((name) => ({ name, type: 'soft' as const }));
const asMap = (...all: TaskservDefinition[]) => new Map(all.map((one) => [one.name, one]));
const order = (definitions: Map<string, TaskservDefinition>, ...names: string[]) =>
  resolveOrder(definitions, names).map(({ name }) => name);

const problems = (...expected: object[]) => ({ code: 'VALIDATION_ERROR', status: 400, details: expected });

test('what is required comes first and is added, each once', () => {
  const all = asMap(
    definition('app', { requires: hard('web', 'db') }),
    definition('web', { requires: hard('base') }),
    definition('db', { requires: hard('base') }),
    definition('base'),
  );
  assert.deepEqual(order(all, 'app'), ['base', 'web', 'db', 'app']);
  assert.deepEqual(order(all, 'db', 'app', 'db'), ['base', 'db', 'web', 'app']);
});

test('a soft requirement is installed earlier, but never because of it', () => {
  const all = asMap(definition('app', { requires: soft('cache', 'unheard-of') }), definition('cache'));
  assert.deepEqual(order(all, 'app'), ['app']);
  assert.deepEqual(order(all, 'app', 'cache'), ['cache', 'app']);
});

test('an unknown name is told with near matches, and who requires it', () => {
  const all = asMap(definition('redis'), definition('app', { requires: hard('nope') }));
  assert.throws(
    () => order(all, 'rediss'),
    problems({
      field: 'name',
      message: 'there is no taskserv "rediss"; did you mean redis?',
      near_matches: ['redis'],
    }),
  );
  assert.throws(() => order(all, 'app'), /there is no taskserv "nope", which "app" requires/);
});

test('a circle is named whole, without the way that leads to it', () => {
  const all = asMap(
    definition('start', { requires: hard('a') }),
    definition('a', { requires: hard('b') }),
    definition('b', { requires: soft('c') }),
    definition('c', { requires: hard('a') }),
  );
  assert.throws(() => order(all, 'start', 'c'), /the requirements form a circle: a → b → c → a/);
  assert.deepEqual(order(all, 'b'), ['b']);
});

test('two that conflict are named, whichever of them says so', () => {
  const all = asMap(definition('a', { conflicts: ['b'] }), definition('b'), definition('c', { requires: hard('a') }));
  assert.throws(() => order(all, 'b', 'c'), /"a" and "b" cannot be on the same host/);
});

test('a chain of ten thousand is no problem', () => {
  const all = asMap(
    ...Array.from({ length: 10_000 }, (_, i) => definition(`t${i}`, { requires: i > 0 ? hard(`t${i - 1}`) : [] })),
  );
  assert.equal(order(all, 't9999').length, 10_000);
});

test('property: every order holds every requirement before what requires it', () => {
  const graph = fc.array(fc.array(fc.nat(11), { maxLength: 4 }), { minLength: 12, maxLength: 12 });
  fc.assert(
    fc.property(graph, fc.uniqueArray(fc.nat(11), { minLength: 1 }), (edges, names) => {
      // Only towards smaller numbers, so that there is no circle.
      const all = asMap(
        ...edges.map((to, from) =>
          definition(`t${from}`, { requires: hard(...new Set(to.filter((n) => n < from).map((n) => `t${n}`))) }),
        ),
      );
      const result = order(all, ...names.map((n) => `t${n}`));
      assert.equal(new Set(result).size, result.length);
      for (const [index, name] of result.entries()) {
        for (const { name: required } of all.get(name)?.requires ?? []) {
          const before = result.indexOf(required);
          assert.ok(before >= 0 && before < index);
        }
      }
    }),
  );
});

const CONFIG: Record<string, ConfigProperty> = {
  port: { type: 'integer', minimum: 1, maximum: 65_535, default: 6379 },
  mode: { type: 'string', enum: ['one', 'two'], default: 'one' },
  members: { type: 'array', items: { type: 'string' }, default: [] },
  password: { type: 'string', secret: true, minLength: 8 },
  token: { type: 'string', secret: true },
  page: { type: 'string', multiline: true },
};
const cache = definition('cache', { config: CONFIG });

test('defaults are filled in, secrets that have a value are told, and what was given stays as it is', async () => {
  const given = { password: 'long enough' };
  assert.deepEqual(await resolveConfig(cache, given), {
    values: { port: 6379, mode: 'one', members: [], password: 'long enough' },
    secrets: ['password'],
    privileged: [],
  });
  assert.deepEqual(given, { password: 'long enough' });
});

test('a default is not shared between two configs', async () => {
  const first = (await resolveConfig(cache, {})).values.members;
  assert.ok(Array.isArray(first));
  first.push('changed');
  assert.deepEqual((await resolveConfig(cache, {})).values.members, []);
});

test('each wrong field is named, and no secret value told', async () => {
  await assert.rejects(
    resolveConfig(cache, { port: 70_000, mode: 'three', pasword: 'hidden-canary', password: 'canary' }),
    (error: Error & { details?: unknown }) => {
      const fields = (error.details as { field: string }[]).map(({ field }) => field).sort();
      assert.deepEqual(fields, ['config.mode', 'config.password', 'config.pasword', 'config.port']);
      assert.doesNotMatch(JSON.stringify(error.details) + error.message, /canary/);
      assert.match(JSON.stringify(error.details), /"near_matches":\["password"\]/);
      return true;
    },
  );
  await assert.rejects(resolveConfig(cache, { members: ['ok', 5] }), /config\.members\[1\]: must be string/);
});

test('a required value must be given', async () => {
  const strict = definition('strict', { config: { address: { type: 'string', required: true } } });
  await assert.rejects(resolveConfig(strict, {}), /config\.address: is required/);
});

test('line breaks and control characters are refused, but in a text of several lines', async () => {
  for (const text of ['a\nb', 'a\rb', 'a\0b', '\u001b[0m']) {
    await assert.rejects(resolveConfig(cache, { token: text }), /config\.token: must not contain control characters/);
    await assert.rejects(resolveConfig(cache, { members: ['fine', text] }), /config\.members: must not/);
  }
  assert.equal((await resolveConfig(cache, { page: 'a\n\tb' })).values.page, 'a\n\tb');
  await assert.rejects(resolveConfig(cache, { page: 'a\0b' }), /config\.page/);
  await assert.rejects(
    resolveConfig(cache, { page: 'x'.repeat(70_000) }),
    /config\.page: must have at most 65536 bytes/,
  );
});

test('a version is one that the catalog has', () => {
  assert.equal(resolveVersion(cache, undefined), 'distro');
  assert.equal(resolveVersion(cache, '7.0'), '7.0');
  for (const wrong of ['7.1', 7, null, '']) {
    assert.throws(() => resolveVersion(cache, wrong), /config\.version: .*distro, 7\.0/);
  }
});

test('scripts get each value in the environment, and the host one file that only root reads', () => {
  const { env, configFile } = renderScripts(cache, '7.0', {
    port: 1,
    members: ['a', 'b'],
    password: "o'neill $HOME",
    page: 'a\nb',
  });
  assert.deepEqual(env, {
    TASKSERV_NAME: 'cache',
    TASKSERV_VERSION: '7.0',
    TASKSERV_PLATFORMS: 'debian-12',
    TASKSERV_CONFIG: '/etc/provisioning/cache.json',
    TASKSERV_PORT: '1',
    TASKSERV_MODE: '',
    TASKSERV_MEMBERS: 'a\nb',
    TASKSERV_PASSWORD: "o'neill $HOME",
    TASKSERV_TOKEN: '',
    TASKSERV_PAGE: 'a\nb',
  });
  assert.equal(configFile.path, '/etc/provisioning/cache.json');
  assert.equal(configFile.mode, 0o600);
  assert.deepEqual(JSON.parse(configFile.content), {
    name: 'cache',
    version: '7.0',
    config: { port: 1, members: ['a', 'b'], password: "o'neill $HOME", page: 'a\nb' },
  });
});

test('every built-in definition resolves with what it requires, on its defaults, or says what must be given', async () => {
  const { definitions } = await loadCatalog(null);
  for (const built of definitions.values()) {
    assert.ok(resolveOrder(definitions, [built.name]).includes(built));
    assert.equal(resolveVersion(built, undefined), built.versions.default);
    const required = Object.keys(built.config).filter((name) => built.config[name]?.required === true);
    if (required.length === 0) await resolveConfig(built, {});
    else await assert.rejects(resolveConfig(built, {}), new RegExp(`config\\.${required[0]}: is required`));
  }
});
