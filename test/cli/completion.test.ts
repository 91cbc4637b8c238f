/** The completion scripts in the shells that they are for. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { needs } from '../support/needs.ts';

const run = promisify(execFile);
const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-completion-'));
after(() => rm(directory, { recursive: true, force: true }));
await symlink(
  fileURLToPath(new URL('../../bin/provisioning.js', import.meta.url)),
  path.join(directory, 'provisioning'),
);

/** What each shell is told to print what it would offer for `provisioning server st`. */
const ASKED = {
  bash: [
    '-c',
    `source <(provisioning completion bash)
     COMP_WORDS=(provisioning server st) COMP_CWORD=2
     $(complete -p provisioning | sed 's/.*-F \\([^ ]*\\).*/\\1/')
     printf '%s\\n' "\${COMPREPLY[@]}"`,
  ],
  // Without a person at the terminal only the parts that zsh would call can be called.
  zsh: [
    '-fc',
    `compdef() { completer=$1 }
     compadd() { print -l -- \${(P)2} }
     source <(provisioning completion zsh)
     words=(provisioning server st) CURRENT=3
     $completer`,
  ],
  fish: ['--no-config', '-c', 'provisioning completion fish | source; complete -C "provisioning server st"'],
};

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  test(`${shell} completes a command`, { skip: needs(shell) }, async () => {
    const { stdout } = await run(shell, ASKED[shell], {
      env: {
        PATH: `${directory}:${path.dirname(process.execPath)}:${process.env.PATH}`,
        HOME: directory,
        TERM: 'dumb',
      },
    });
    assert.deepEqual(stdout.trim().split('\n').toSorted(), ['start', 'stop']);
  });
}
