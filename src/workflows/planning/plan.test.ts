/** What a definition says, and every way in which it can be wrong, with its place. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SEED } from '../../../test/support/seed.ts';
import type { Json, JsonObject } from '../../documents/json.ts';
import type { Problem } from '../../documents/problems.ts';
import { type Definition, loadDefinition } from '../definition/definition.ts';
import '../kinds/rules.ts';
import type { Plan } from './contract.ts';
import { findCycle, shapeOf } from './graph.ts';
import { planWorkflow } from './plan.ts';

fc.configureGlobal({ seed: SEED });

const DEFAULTS = { provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1' };

function load(text: string, name: string | null = null): Definition {
  const loaded = loadDefinition(text, name);
  assert.deepEqual(loaded.problems, []);
  assert.ok(loaded.definition !== null);
  return loaded.definition;
}

function run(
  text: string,
  parameters: JsonObject = {},
  more: { servers?: Json[]; taskservs?: Json[]; types?: Record<string, string> } = {},
) {
  const types = new Map(Object.entries(more.types ?? {}).map(([name, source]) => [name, load(source, name)]));
  return planWorkflow({
    definition: load(text),
    parameters,
    workspace: { name: 'production', defaults: DEFAULTS },
    servers: more.servers ?? [],
    taskservs: more.taskservs ?? [],
    type: (name) => types.get(name),
    typeNames: [...types.keys()],
  });
}

function plan(...input: Parameters<typeof run>): Plan {
  const planned = run(...input);
  assert.deepEqual(planned.problems, []);
  assert.ok(planned.plan !== null);
  return planned.plan;
}

/** The problems of a text: `field: message @ line:column`. */
function problems(...input: Parameters<typeof run>): string[] {
  const loaded = loadDefinition(input[0], null);
  const found: readonly Problem[] = loaded.definition === null ? loaded.problems : run(...input).problems;
  return found.map(
    ({ field, message, line, column }) => `${field}: ${message}${line === undefined ? '' : ` @ ${line}:${column}`}`,
  );
}

const CLUSTER = `
parameters:
  type: object
  required: [cluster_name, node_count, plan]
  properties:
    cluster_name: { type: string }
    node_count: { type: integer, minimum: 1 }
    plan: { type: string }
    flavor: { type: string, default: plain }
operations:
  - id: web
    kind: server.create
    for_each: "\${{ range(parameters.node_count) }}"
    with: { hostname: "\${{ parameters.cluster_name }}-\${{ item }}" }
    retry: { max_attempts: 3, backoff: exponential, initial_delay: 5, max_delay: 300 }
    timeout: 300
  - id: approve
    kind: approval
    when: "\${{ parameters.flavor != 'plain' }}"
    depends_on: [web]
  - id: last
    kind: server.stop
    depends_on: [{ id: approve, type: soft }]
    with: { server: "\${{ operations.web[0].result.hostname }}" }
outputs:
  names: "\${{ operations.web[*].result.hostname }}"
`;

describe('a plan', () => {
  test('expands for_each, renders what is known, takes plan and zone from the workspace', () => {
    const { nodes, parameters, steps } = plan(CLUSTER, { cluster_name: 'k8s', node_count: 2 });
    assert.deepEqual(parameters, { cluster_name: 'k8s', node_count: 2, plan: '2xCPU-4GB', flavor: 'plain' });
    assert.deepEqual(
      nodes.slice(0, 2).map(({ known: _, ...node }) => node),
      [
        { key: 'web[0]', step: 'web', index: 0, item: 0, with: { hostname: 'k8s-0', ...DEFAULTS }, skipped: false },
        { key: 'web[1]', step: 'web', index: 1, item: 1, with: { hostname: 'k8s-1', ...DEFAULTS }, skipped: false },
      ],
    );
    assert.deepEqual(steps[0]?.settings, {
      maxAttempts: 3,
      backoff: 'exponential',
      initialDelay: 5,
      maxDelay: 300,
      timeout: 300,
      onFailure: 'rollback',
      priority: 0,
      parallelLimit: null,
    });
  });

  test('leaves out what `when` says, and keeps for later what needs results', () => {
    const { nodes } = plan(CLUSTER, { cluster_name: 'k8s', node_count: 1 });
    assert.deepEqual(
      nodes.map(({ key, skipped, with: fields }) => [key, skipped, fields === null]),
      [
        ['web[0]', false, false],
        ['approve', true, true],
        ['last', false, true],
      ],
    );
  });

  test('makes edges of depends_on and of what expressions read, and tells waves and the critical path', () => {
    const { edges, waves, criticalPath } = plan(CLUSTER, { cluster_name: 'k8s', node_count: 1, flavor: 'etcd' });
    assert.deepEqual(edges, [
      { from: 'web', to: 'approve', type: 'hard' },
      { from: 'approve', to: 'last', type: 'soft' },
      { from: 'web', to: 'last', type: 'hard' },
    ]);
    assert.deepEqual(waves, [['web'], ['approve'], ['last']]);
    assert.deepEqual(criticalPath, ['web', 'approve', 'last']);
    const plain = plan(CLUSTER, { cluster_name: 'k8s', node_count: 1, flavor: 'plain' });
    assert.deepEqual(plain.waves, [['web'], ['last']], 'what is left out has no wave');
    assert.deepEqual(plain.criticalPath, ['web', 'last']);
  });

  test('chooses from the servers of the workspace', () => {
    const text = `
operations:
  - id: gone
    kind: server.delete
    for_each: "\${{ servers[?contains(tags, 'cluster:a')] }}"
    with: { server: "\${{ item.id }}" }`;
    const servers = [
      { id: 'srv-1', tags: ['cluster:a'] },
      { id: 'srv-2', tags: [] },
      { id: 'srv-3', tags: ['cluster:a'] },
    ];
    assert.deepEqual(
      plan(text, {}, { servers }).nodes.map((node) => node.with),
      [{ server: 'srv-1' }, { server: 'srv-3' }],
    );
  });

  test('takes its steps from a parameter where the definition says so', () => {
    const text = `
parameters: { type: object, properties: { operations: { type: array } } }
operations: "\${{ parameters.operations }}"`;
    const step = { id: 'a', kind: 'server.create', with: { hostname: 'h' } };
    assert.equal(plan(text, { operations: [step as Json] }).nodes.length, 1);
    assert.deepEqual(problems(text, { operations: [{ ...step, depends_on: ['b'] } as Json] }), [
      'parameters.operations[0].depends_on[0]: there is no step "b"',
    ]);
    assert.deepEqual(problems(text, { operations: [{ id: 'a', kind: 'server.creat' }] }), [
      'parameters.operations[0].kind: must be one of server.create, server.delete, server.resize, server.guard, server.start, server.stop, server.restart, taskserv.create, taskserv.update, taskserv.delete, taskserv.guard, command, workflow, approval, wait',
    ]);
    assert.deepEqual(problems(text, { operations: [{ ...step, with: { hostname: 7 } } as Json] }), [
      'parameters.operations[0].with.hostname: must be string, not number',
    ]);
  });

  test('asks for the permissions of its kinds, those of nested workflows included', () => {
    const types = { inner: 'operations: [{ id: a, kind: server.delete, with: { server: x } }]' };
    const { permissions, nested } = plan(
      'operations: [{ id: n, kind: workflow, with: { workflow_type: inner } }]',
      {},
      { types },
    );
    assert.deepEqual(
      permissions.map(({ permission }) => permission),
      ['workflow_submit', 'server_delete'],
    );
    assert.deepEqual([...nested.keys()], ['inner']);
  });
});

describe('what is wrong is told with its line and column', () => {
  const one = (fields: string) =>
    `operations:\n  - id: a\n    kind: server.create\n    with: { hostname: a }\n    ${fields}\n`;
  const cases: [name: string, text: string, expected: RegExp[]][] = [
    ['text that is no YAML', 'operations:\n  - id: [a\n', [/^definition: is not valid YAML: .* @ [23]:/]],
    [
      'nesting without end',
      `operations: ${'['.repeat(50_000)}${']'.repeat(50_000)}`,
      [/^definition: nests more than 64 deep @ 1:1$/],
    ],
    ['a key twice', 'operations: []\noperations: []\n', [/Map keys must be unique.* @ 2:1$/]],
    ['an unknown field', one('hostnam: b'), [/^operations\[0\]\.hostnam: unknown field; known: .* @ 5:5$/]],
    ['a wrong type', one('timeout: soon'), [/^operations\[0\]\.timeout: must be number, not string @ 5:14$/]],
    [
      'a kind that there is not',
      'operations:\n  - { id: a, kind: server.make }',
      [/^operations\[0\]\.kind: must be one of .* @ 2:20$/],
    ],
    [
      'two steps of one name',
      'operations:\n  - { id: a, kind: approval }\n  - { id: a, kind: approval }',
      [/^operations\[1\]\.id: there are two steps "a" @ 3:11$/],
    ],
    [
      'an unknown dependency',
      one('depends_on: [b]'),
      [/^operations\[0\]\.depends_on\[0\]: there is no step "b" @ 5:18$/],
    ],
    [
      'an unknown parameter',
      one('when: "${{ parameters.x == `1` }}"'),
      [/^operations\[0\]\.when: there is no parameter "x" @ 5:11$/],
    ],
    [
      'an unknown root',
      one('when: "${{ params.x }}"'),
      [/^operations\[0\]\.when: unknown reference "params".* @ 5:11$/],
    ],
    [
      'an unknown step in an expression',
      one('when: "${{ operations.b.result.ok }}"'),
      [/^operations\[0\]\.when: there is no step "b".* @ 5:11$/],
    ],
    [
      'an expression that cannot be read',
      one('when: "${{ parameters.[ }}"'),
      [/^operations\[0\]\.when: cannot read the expression.* @ 5:11$/],
    ],
    ['a number without backticks', one('when: "${{ length(servers) > 3 }}"'), [/write a number in backticks/]],
    ['an unknown function', one('when: "${{ exec(`1`) }}"'), [/^operations\[0\]\.when: there is no function exec\(\)/]],
    ['an expression that is not closed', one('when: "${{ servers"'), [/^operations\[0\]\.when: .* is not closed/]],
    [
      'a function with a wrong argument',
      one('for_each: "${{ range(\'x\') }}"'),
      [/^operations\[0\]\.for_each: Invalid type: range\(\).* @ 5:15$/],
    ],
    [
      'a for_each that is no list',
      one('for_each: "${{ workspace.name }}"'),
      [/^operations\[0\]\.for_each: must be a list, not string @ 5:15$/],
    ],
    [
      'a when that is no truth value',
      one('when: "${{ workspace.name }}"'),
      [/^operations\[0\]\.when: must be true or false, not string @ 5:11$/],
    ],
    ['item without for_each', one('when: "${{ item == `1` }}"'), [/^operations\[0\]\.when: there is no "item"/]],
    [
      'a setting that would need results',
      'operations:\n  - { id: a, kind: approval }\n  - { id: b, kind: approval, timeout: "${{ operations.a.result.x }}" }',
      [/^operations\[1\]\.timeout: must be known before the workflow starts/],
    ],
    [
      'a field of a kind',
      'operations:\n  - id: a\n    kind: server.create\n    with:\n      hostname: UPPER\n',
      [/^operations\[0\]\.with\.hostname: "UPPER" does not match .* @ 5:17$/],
    ],
    [
      'a missing field of a kind',
      'operations:\n  - { id: a, kind: server.create }\n',
      [/^operations\[0\]\.with\.hostname: is required @ 2:5$/],
    ],
    [
      'the same host twice',
      one('for_each: [1, 2]'),
      [/^operations\[0\]\.with\.hostname: a\[1\] and a\[0\] both have "a" @ 4:23$/],
    ],
    ['a step that waits for itself', one('depends_on: [a]'), [/circle: a → a @ 5:17$/]],
    ['a file of another name', 'name: other\noperations: [{ id: a, kind: approval }]', []],
    [
      'an unknown nested type',
      'operations: [{ id: n, kind: workflow, with: { workflow_type: x } }]',
      [/there is no workflow type "x"/],
    ],
    ['a field of a prototype', one('when: "${{ parameters.constructor }}"'), [/"constructor" is not a field/]],
  ];
  for (const [name, text, expected] of cases) {
    test(name, () => {
      const found = problems(text);
      for (const pattern of expected)
        assert.ok(
          found.some((line) => pattern.test(line)),
          `${pattern} not in:\n${found.join('\n')}`,
        );
      assert.ok(expected.length === 0 || found.length <= 2, found.join('\n'));
    });
  }

  test('a cycle is named in full', () => {
    const text =
      'operations:\n  - { id: a, kind: approval, depends_on: [c] }\n  - { id: b, kind: approval, depends_on: [a] }\n  - { id: c, kind: approval, depends_on: [b] }\n';
    const [problem = ''] = problems(text);
    assert.match(problem, /the steps wait for each other in a circle: (a → b → c → a|b → c → a → b|c → a → b → c)/);
  });

  test('workflows that contain each other are named in full', () => {
    const types = {
      one: 'operations: [{ id: n, kind: workflow, with: { workflow_type: two } }]',
      two: 'operations: [{ id: n, kind: workflow, with: { workflow_type: one } }]',
    };
    assert.match(
      problems('operations: [{ id: n, kind: workflow, with: { workflow_type: one } }]', {}, { types }).join(),
      /circle: one → two → one/,
    );
  });

  test('parameters against their schema', () => {
    assert.deepEqual(problems(CLUSTER, { cluster_name: 'a', node_count: 0, flavour: 'x' }), [
      'parameters.flavour: unknown field; known: cluster_name, node_count, plan, flavor',
      'parameters.node_count: must be >= 1',
    ]);
    assert.deepEqual(problems(CLUSTER, { node_count: '3' }), [
      'parameters.cluster_name: is required',
      'parameters.node_count: must be integer, not string',
    ]);
  });
});

describe('what an expression may cost is bounded', () => {
  const one = (expression: string) =>
    `operations:\n  - id: a\n    kind: approval\n    for_each: "\${{ ${expression} }}"\n`;
  test('a large range, a wide padding, a list doubled again and again', () => {
    assert.match(problems(one('range(`1000000000`)')).join(), /whole numbers from 0 to 100000/);
    assert.match(problems(one("pad_left('x', `1000000000`)")).join(), /whole numbers from 0 to 1000/);
    assert.match(problems(one(`range(\`1000\`)${' | [@,@][]'.repeat(40)}`)).join(), /more than 100000 elements/);
    assert.match(
      problems(one(`'xxxxxxxxxx'${" | join('', [@,@])".repeat(40)}`)).join(),
      /more than 1000000 characters/,
    );
  });
  test('a YAML text that its aliases blow up', () => {
    const bomb = `a: &a [1,1,1,1,1,1,1,1,1]\n${[...'bcdefgh'].map((c, n) => `${c}: &${c} [${Array(9).fill(`*${'abcdefgh'[n]}`)}]`).join('\n')}\n`;
    assert.match(problems(bomb).join(), /uses more than 100 aliases/);
  });
});

test('findCycle and shapeOf agree with the definition of a DAG', () => {
  const graphs = fc
    .integer({ min: 1, max: 40 })
    .chain((size) =>
      fc
        .tuple(fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 120 }), fc.array(fc.nat(size - 1)))
        .map(([pairs, left]) => ({ size, pairs, left: new Set(left) })),
    );
  fc.assert(
    fc.property(graphs, ({ size, pairs, left }) => {
      const ids = Array.from({ length: size }, (_, n) => `s${n}`);
      const edges = [
        ...new Map(
          pairs.map(([from, to]) => [`${from} ${to}`, { from: `s${from}`, to: `s${to}`, type: 'hard' as const }]),
        ).values(),
      ];
      const cycle = findCycle(ids, edges);
      if (cycle !== null) {
        assert.ok(cycle.length >= 2 && cycle[0] === cycle.at(-1));
        for (const [n, from] of cycle.slice(0, -1).entries())
          assert.ok(edges.some((edge) => edge.from === from && edge.to === cycle[n + 1]));
        return;
      }
      const runs = (id: string) => !left.has(Number(id.slice(1)));
      const { waves, criticalPath } = shapeOf(ids, edges, runs);
      assert.deepEqual(waves.flat().sort(), ids.filter(runs).sort());
      const wave = new Map(waves.flatMap((names, n) => names.map((name) => [name, n])));
      // Also where what stands between two steps is left out.
      const after = (id: string): string[] =>
        edges.filter(({ from }) => from === id).flatMap(({ to }) => (runs(to) ? [to] : after(to)));
      for (const from of ids.filter(runs))
        for (const to of after(from)) assert.ok((wave.get(from) ?? 0) < (wave.get(to) ?? 0));
      assert.equal(criticalPath.length, waves.length);
      for (const [n, from] of criticalPath.slice(0, -1).entries())
        assert.ok(after(from).includes(criticalPath[n + 1] ?? ''));
    }),
    { numRuns: 300 },
  );
});
