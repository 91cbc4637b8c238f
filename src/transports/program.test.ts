import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { asShell } from './program.ts';

function run(program: string) {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', asShell(program)], {
    encoding: 'utf8',
    env: { ...process.env, GREETING: 'hello' },
  });
  return { status, stdout, stderr };
}

test('without a first line for somebody else a program is left as it is', () => {
  for (const first of ['', '#!/bin/sh\n', '#!/usr/bin/sh\n', '#! /bin/dash\n', '#!/usr/bin/env sh\n', '# not one\n']) {
    const program = `${first}echo "$GREETING"; exit 3`;
    assert.equal(asShell(program), program);
    assert.deepEqual(run(program), { status: 3, stdout: 'hello\n', stderr: '' });
  }
});

test('a program for another interpreter is run by it, with its arguments', { skip: needs('bash') }, () => {
  const arrays = 'a=(one two); [[ $a == one ]] && echo "$GREETING"; exit 3';
  for (const first of ['#!/bin/bash', '#!/usr/bin/env bash', '#! /usr/bin/env bash ', '#!/usr/bin/env -S bash -u'])
    assert.deepEqual(run(`${first}\n${arrays}`), { status: 3, stdout: 'hello\n', stderr: '' }, first);
  assert.deepEqual(run('#!/bin/sh -e\nfalse\necho never'), { status: 1, stdout: '', stderr: '' });
  assert.deepEqual(run("#!/bin/cat\n'$GREETING' $(false) `x` \\"), {
    status: 0,
    stdout: "#!/bin/cat\n'$GREETING' $(false) `x` \\\n",
    stderr: '',
  });
});

test('an interpreter that is not there is named', () => {
  const { status, stderr } = run('#!/usr/bin/env no-such-interpreter\nx');
  assert.equal(status, 127);
  assert.match(stderr, /no-such-interpreter/);
});
