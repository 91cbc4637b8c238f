import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { claimAt, claimMatches, groupsIn, isSpecific, matches, saysWhose } from './claims.ts';

/** The same in the words of regular expressions, which need no bound here. */
const expression = (pattern: string) =>
  new RegExp(
    `^${pattern.replaceAll(/\*\*|\*|[^*]/gsu, (part) =>
      part === '**' ? '[\\s\\S]*' : part === '*' ? '[^/:]*' : part.replace(/[.*+?^${}()|[\]\\/-]/gu, '\\$&'),
    )}$`,
    'u',
  );

test('a pattern fits what its regular expression does', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', ':', 'é'), maxLength: 12 });
  const pattern = fc
    .array(fc.constantFrom('a', 'b', '/', ':', '*', '**', 'é'), { maxLength: 8 })
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(pattern, text, (given, claim) => {
      assert.equal(matches(given, claim), expression(given).test(claim));
    }),
    { numRuns: 3_000 },
  );
});

test('what has only wildcards and separators asks for nothing', () => {
  for (const pattern of ['', '*', '**', '*:*', '*/**', ':/']) assert.equal(isSpecific(pattern), false, pattern);
  for (const pattern of ['a', '*a', 'repo:*']) assert.equal(isSpecific(pattern), true, pattern);
});

test('a rule says whose jobs it is for', () => {
  const github = 'https://token.actions.githubusercontent.com';
  const own = 'https://gitlab.example';
  const says = (issuer: string, claims: Record<string, string | string[]>) =>
    saysWhose(issuer, Object.fromEntries(Object.entries(claims).map(([name, given]) => [name, [given].flat()])));
  for (const issuer of [github, own]) {
    for (const sub of ['repo:acme/site:ref:refs/heads/main', 'repo:acme/**', 'repo:acme/*:ref:refs/heads/main']) {
      assert.ok(says(issuer, { sub }), sub);
    }
    for (const sub of [
      'repo:**',
      'r**',
      '**a',
      'repo:*/site:**',
      'repo:acme-*/site:**',
      'repo:acme**',
      'repo:acme*/x',
    ]) {
      assert.ok(!says(issuer, { sub }), sub);
    }
    assert.ok(!says(issuer, { sub: ['repo:acme/**', 'repo:**'] }));
    assert.ok(!says(issuer, { iss: issuer, aud: 'us', typ: 'JWT' }));
    assert.ok(!says(issuer, { user_email: 'ada@example.com' }));
    assert.ok(says(issuer, { sub: 'repo:**', repository_id: '123' }));
    assert.ok(!says(issuer, { repository_id: '12*' }));
    assert.ok(says(issuer, { project_path: 'acme/**' }));
  }
  for (const name of ['ref', 'repository_visibility', 'environment']) {
    assert.ok(!says(github, { [name]: 'public' }));
    assert.ok(says(own, { [name]: 'public' }));
  }
});

test('claims are read by name or path, and only texts, numbers and truth values fit', () => {
  assert.equal(claimAt({ 'a.b': 1, a: { b: 2 } }, 'a.b'), 1);
  assert.equal(claimAt({ a: { b: 2 } }, 'a.b'), 2);
  for (const name of ['__proto__', 'constructor', 'a.constructor', 'a.b.c']) {
    assert.equal(claimAt({ a: { b: 2 } }, name), undefined, name);
  }
  assert.ok(claimMatches(true, ['true']));
  assert.ok(claimMatches([1, 2], ['2']));
  for (const value of [undefined, null, {}, [[]], { toString: 1 }]) assert.ok(!claimMatches(value, ['**a', 'null']));
  assert.ok(!claimMatches('a'.repeat(3_000), ['a**']));
});

test('groups are each named once; none at all is not the same as an empty list', () => {
  assert.deepEqual(groupsIn({ groups: ['a', 'a', 1, '', 'x'.repeat(300), 'b\0'] }, 'groups'), ['a']);
  assert.deepEqual(groupsIn({ groups: 'a' }, 'groups'), ['a']);
  assert.deepEqual(groupsIn({ groups: [] }, 'groups'), []);
  assert.equal(groupsIn({}, 'groups'), null);
  const many = Array.from({ length: 1_001 }, (_, n) => `group ${n}`);
  assert.throws(() => groupsIn({ groups: many }, 'groups'), /more than 1000 groups/);
});
