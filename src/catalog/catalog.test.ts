import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { type CatalogProblem, loadCatalog, type TaskservDefinition } from './catalog.ts';

const SCRIPT = '#!/bin/sh\nsay hello\n';

/** A workspace's directory, gone at the end of its scope. */
async function workspace() {
  const root = await mkdtemp(path.join(tmpdir(), 'catalog-'));
  return {
    root,
    file: (...parts: string[]) => path.join(root, 'taskservs', ...parts),
    async write(name: string, yaml: string, scripts: Record<string, string> = {}) {
      const folder = path.join(root, 'taskservs', name);
      await mkdir(folder, { recursive: true });
      await writeFile(path.join(folder, 'taskserv.yaml'), yaml);
      const all = { 'install.sh': SCRIPT, 'check.sh': SCRIPT, 'remove.sh': SCRIPT, ...scripts };
      for (const [file, text] of Object.entries(all)) await writeFile(path.join(folder, file), text);
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}

function minimal(name: string, more = ''): string {
  return `name: ${name}\nsummary: A test\nversions: { default: "1", supported: ["1"] }\nplatforms: [debian-12]\n${more}`;
}

/** As `file:line:column`, relative to the workspace, with the message. */
function told(problems: CatalogProblem[], root: string): string[] {
  return problems.map(({ file, line, column, message }) => `${path.relative(root, file)}:${line}:${column} ${message}`);
}

function existing(definitions: Map<string, TaskservDefinition>, name: string): TaskservDefinition {
  const definition = definitions.get(name);
  assert.ok(definition, `${name} is in the catalog`);
  return definition;
}

test('every built-in definition is without a mistake and carries the library', async () => {
  const { definitions, problems } = await loadCatalog(null);
  assert.deepEqual(problems, []);
  assert.ok(definitions.size > 0);
  for (const definition of definitions.values()) {
    for (const [name, script] of Object.entries(definition.scripts)) {
      assert.match(script, /^#!\/bin\/sh\n/);
      assert.ok(script.includes('service_apply()'), `${definition.name}/${name}.sh`);
    }
  }
});

test('every built-in setting that chooses where code comes from takes a permission of its own', async () => {
  const { definitions } = await loadCatalog(null);
  const settings = [...definitions.values()].flatMap(({ name, config }) =>
    Object.entries(config).map(([setting, property]) => ({ setting: `${name}.${setting}`, property })),
  );
  const chooses = /(^|_)(mirrors?|images?|registry|registries|repos?|repository|repositories)(_|$)/;
  const chosen = settings.filter(({ setting }) => chooses.test(setting.split('.')[1] ?? ''));
  assert.ok(chosen.length >= 12, chosen.map(({ setting }) => setting).join());
  assert.deepEqual(
    chosen.flatMap(({ setting, property }) => (property.privileged === true ? [] : setting)),
    [],
  );
});

test("a workspace's own definition joins the built-in ones and overrides one of the same name", async () => {
  await using own = await workspace();
  await own.write(
    'mine',
    minimal('mine', 'requires: [redis, { name: nginx, type: soft }]\nconfig: { port: { type: integer } }\n'),
  );
  await own.write('redis', minimal('redis'));
  const { definitions, problems } = await loadCatalog(own.root);
  assert.deepEqual(problems, []);
  const mine = existing(definitions, 'mine');
  assert.equal(mine.source, 'workspace');
  assert.deepEqual(mine.requires, [
    { name: 'redis', type: 'hard' },
    { name: 'nginx', type: 'soft' },
  ]);
  assert.match(mine.scripts.install, /^#!\/bin\/sh\n[\s\S]*\nsay hello\n$/);
  assert.equal(existing(definitions, 'redis').summary, 'A test');
  assert.equal(existing(definitions, 'nginx').source, 'built-in');
  assert.notEqual(existing((await loadCatalog(null)).definitions, 'redis').summary, 'A test');
});

test('scripts run in any shell, from a file or as text: one for bash gets it, and standard input stays free', {
  skip: needs('bash'),
}, async () => {
  await using own = await workspace();
  const probe = `printf "%s|%s|" "\${BASH_VERSION:+bash}" "$TASKSERV_NAME"; cat`;
  await own.write('x', minimal('x').replace('debian-12', 'debian-12, ubuntu-22.04, ubuntu-24.04'), {
    'install.sh': `#!/bin/sh\n${probe}\n`,
    'check.sh': `#!/bin/bash\n${probe}\n`,
    'remove.sh': `#!/usr/bin/env bash\n${probe}\nexit 7`,
  });
  const { scripts } = existing((await loadCatalog(own.root)).definitions, 'x');
  const run = (script: string) => {
    // The library looks at the host; here it is whatever runs the tests.
    const text = script
      .replace(/^case " \$TASKSERV_PLATFORMS " in[\s\S]*?^esac$/m, '')
      .replace(/^\[ "\$\(id -u\).*$/m, '');
    const env = { PATH: process.env.PATH, TASKSERV_NAME: 'x', TASKSERV_PLATFORMS: '' };
    return spawnSync('sh', ['-c', 'eval "$SCRIPT"'], {
      env: { ...env, SCRIPT: text },
      input: 'typed',
      encoding: 'utf8',
    });
  };
  assert.equal(run(scripts.install).stdout, '|x|typed');
  assert.equal(run(scripts.check).stdout, 'bash|x|typed');
  const removed = run(scripts.remove);
  assert.equal(removed.stdout, 'bash|x|typed');
  assert.equal(removed.status, 7);
});

test('a workspace without such a folder, or that is gone, has the built-in definitions', async () => {
  await using own = await workspace();
  const builtIn = [...(await loadCatalog(null)).definitions.keys()];
  assert.deepEqual([...(await loadCatalog(own.root)).definitions.keys()], builtIn);
  assert.deepEqual([...(await loadCatalog(path.join(own.root, 'gone'))).definitions.keys()], builtIn);
});

test('a broken override hides the built-in one: nobody gets another service than they wrote down', async () => {
  await using own = await workspace();
  await own.write('redis', minimal('redis', 'confg: {}\n'));
  const { definitions, problems } = await loadCatalog(own.root);
  assert.equal(definitions.has('redis'), false);
  assert.deepEqual(told(problems, own.root), [
    'taskservs/redis/taskserv.yaml:5:1 confg: unknown field; known: name, summary, versions, requires, conflicts, ' +
      'platforms, config, timeouts, cluster, ports; did you mean config?',
  ]);
  assert.equal(problems[0]?.taskserv, 'redis');
});

const MISTAKES: [what: string, yaml: string, expected: string[]][] = [
  ['YAML that is none', 'name: [a\n', ['2:1 ']],
  ['a field given twice', `${minimal('x')}name: y\n`, ['5:1 is not valid YAML: Map keys must be unique']],
  ['an empty file', '', ['1:1 must be object, not null']],
  ['a missing field', 'name: x\nsummary: A test\nplatforms: [debian-12]\n', ['1:1 versions: is required']],
  [
    'an unknown platform',
    minimal('x').replace('[debian-12]', '\n  - debian-12\n  - debain-13'),
    ['6:5 platforms[1]: must be one of debian-12, ubuntu-22.04, ubuntu-24.04; did you mean debian-12?'],
  ],
  [
    'a wrong type deep inside',
    minimal('x', 'timeouts:\n  check: soon\n'),
    ['6:10 timeouts.check: must be integer, not string'],
  ],
  ['a name that is not the folder', minimal('y'), ['1:7 name: must be "x", the name of the folder']],
  [
    'a default version that is not supported',
    minimal('x').replace('default: "1"', 'default: "2"'),
    ['3:22 versions.default: must be one of versions.supported'],
  ],
  [
    'a default that breaks its own schema',
    minimal('x', 'config:\n  port:\n    type: integer\n    default: many\n'),
    ['8:14 config.port.default: must be integer, not string'],
  ],
  [
    'a secret with a default',
    minimal('x', 'config:\n  password:\n    type: string\n    secret: true\n    default: changeme\n'),
    ['9:14 config.password.default: a secret must not have a default'],
  ],
  [
    'a reserved name',
    minimal('x', 'config:\n  version: { type: string }\n'),
    ['6:3 config.version: is a reserved name'],
  ],
  [
    'a property name that is no variable',
    minimal('x', 'config:\n  my-port: { type: integer }\n'),
    ['6:3 config.my-port: unknown field'],
  ],
  [
    'a keyword that is none',
    minimal('x', 'config:\n  port: { type: integer, maximun: 5 }\n'),
    ['6:26 config.port.maximun: unknown field; known: type, '],
  ],
  [
    'a pattern that is none',
    minimal('x', 'config:\n  text: { type: string, pattern: "(" }\n'),
    ['6:34 config.text.pattern: must match format "regex"'],
  ],
  ['itself required', minimal('x', 'requires: [os-base, x]\n'), ['5:21 requires[1]: names the taskserv itself']],
  [
    'an unknown one required',
    minimal('x', 'requires:\n  - os-base\n  - nope\n'),
    ['7:5 requires "nope", which neither'],
  ],
  [
    'a number that would not be kept exactly',
    minimal('x', 'config:\n  port: { type: integer, default: 1909198862420847982 }\n'),
    ['6:35 1909198862420847982 is a number past ±9007199254740991'],
  ],
  [
    'a type that there is not',
    minimal('x', 'config:\n  port: { type: integr }\n'),
    ['6:17 config.port.type: must be one of string, integer, number, boolean, array, object; did you mean integer?'],
  ],
  [
    'roles that cannot be given',
    minimal('x', 'cluster:\n  roles:\n    - { name: a }\n    - { name: a, count: many }\n  unless: [upstream]\n'),
    [
      '7:7 cluster.roles[0]: needs "count"',
      '8:15 cluster.roles[1].name: "a" is a role already',
      '8:25 cluster.roles[1].count: the last role takes all',
      '8:25 cluster.roles[1].count: config.many must be an integer',
      '9:12 cluster.unless[0]: there is no config.upstream',
    ],
  ],
  [
    'a generated secret that its property refuses',
    minimal('x', 'config:\n  key: { type: string, secret: true, pattern: "^[0-9]+$", generate: "[a-z]{32}" }\n'),
    ['6:69 config.key.generate: generates what the property does not accept'],
  ],
  [
    'a generated secret whose property is no schema',
    minimal('x', 'config:\n  key: { type: string, secret: true, items: { type: 5 }, generate: "[a-z]{32}" }\n'),
    ['6:8 config.key: is not a JSON Schema'],
  ],
  [
    'too many generated secrets',
    minimal(
      'x',
      `config:\n${Array.from({ length: 51 }, (_, n) => `  k${n}: { type: string, secret: true, generate: "[a-z]{32}" }\n`).join('')}`,
    ),
    ['6:3 config: generates 51 secrets; a taskserv has at most 50'],
  ],
  ['nesting without end', `config: ${'['.repeat(20_000)}${']'.repeat(20_000)}`, ['1:1 nests more than 64 deep']],
  ['an alias', minimal('x', 'config: { a: &a { type: string }, b: *a }\n'), ['1:1 must not use aliases']],
];

for (const [what, yaml, expected] of MISTAKES) {
  test(`a mistake is told with its line and column: ${what}`, async () => {
    await using own = await workspace();
    await own.write('x', yaml);
    const { definitions, problems } = await loadCatalog(own.root);
    assert.equal(definitions.has('x'), false);
    const lines = told(problems, own.root);
    assert.equal(lines.length, expected.length, lines.join('\n'));
    for (const [index, start] of expected.entries()) {
      assert.ok(lines[index]?.startsWith(`taskservs/x/taskserv.yaml:${start}`), lines.join('\n'));
    }
  });
}

test('mistakes in scripts are told: missing, no known shell, carriage returns, too large, not UTF-8', async () => {
  await using own = await workspace();
  await own.write('x', minimal('x'), { 'install.sh': 'echo hello\n', 'check.sh': '#!/bin/sh\necho a\r\n' });
  await rm(own.file('x', 'remove.sh'));
  await own.write('y', minimal('y'), { 'install.sh': `#!/bin/sh\n${'#'.repeat(300_000)}\n` });
  await writeFile(own.file('y', 'check.sh'), Buffer.from([0x23, 0x21, 0xff, 0xfe]));
  const lines = told((await loadCatalog(own.root)).problems, own.root);
  assert.match(lines[0] ?? '', /x\/install.sh:1:1 must be one of: #!\/bin\/sh/);
  assert.match(lines[1] ?? '', /x\/check.sh:2:7 ends with a carriage return/);
  assert.match(lines[2] ?? '', /x\/remove.sh:1:1 is missing/);
  assert.match(lines[3] ?? '', /y\/install.sh:1:1 must have at most 262144 bytes/);
  assert.match(lines[4] ?? '', /y\/check.sh:1:1 is not UTF-8 text/);
  assert.equal(lines.length, 5);
});

test('nothing is read from outside of the workspace, and nothing but regular files', async () => {
  await using own = await workspace();
  await using other = await workspace();
  await other.write('outside', minimal('outside'));
  await own.write('x', minimal('x'));
  await rm(own.file('x', 'install.sh'));
  await symlink('/etc/passwd', own.file('x', 'install.sh'));
  await symlink(other.file('outside'), own.file('outside'));
  await mkdir(own.file('folder', 'taskserv.yaml'), { recursive: true });
  const { definitions, problems } = await loadCatalog(own.root);
  for (const name of ['x', 'outside', 'folder']) assert.equal(definitions.has(name), false);
  assert.deepEqual(told(problems, own.root), [
    'taskservs/folder/taskserv.yaml:1:1 is not a regular file',
    'taskservs/outside/taskserv.yaml:1:1 leads out of the folder that it must lie in',
    'taskservs/x/install.sh:1:1 leads out of the folder that it must lie in',
  ]);
});

test('a link inside the workspace is followed', async () => {
  await using own = await workspace();
  await own.write('x', minimal('x'));
  await rm(own.file('x', 'remove.sh'));
  await symlink('check.sh', own.file('x', 'remove.sh'));
  assert.deepEqual((await loadCatalog(own.root)).problems, []);
});

test('nesting deeper than the parser goes is a mistake, not a crash', async () => {
  await using own = await workspace();
  await own.write('x', '['.repeat(60_000));
  const { problems } = await loadCatalog(own.root);
  assert.ok(problems.length > 0);
});

test('docs/taskservs.md tells of every built-in taskserv, and of no other, how it is tested', async () => {
  const page = await readFile(new URL('../../docs/taskservs.md', import.meta.url), 'utf8');
  const told = [...page.matchAll(/^\| `([a-z0-9-]+)` +\| [^|]+ \| (?:run|dry run) +\|/gm)].map((row) => row[1]);
  assert.deepEqual(told.sort(), [...(await loadCatalog(null)).definitions.keys()].sort());
});
