import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { CompletionContext } from '@codemirror/autocomplete';
import { EditorState } from '@codemirror/state';
import { completeBySchema } from '../../dashboard/src/components/editor/completion.ts';
import { ownProblems, serverProblems } from '../../dashboard/src/components/editor/problems.ts';

const file = new URL('../../docs/contracts/workflow.schema.json', import.meta.url);
const schema = JSON.parse(await readFile(file, 'utf8'));

/** What is offered where `|` stands. */
function offered(marked: string): string[] {
  const pos = marked.indexOf('|');
  const state = EditorState.create({ doc: marked.replace('|', '') });
  return completeBySchema(schema)(new CompletionContext(state, pos, true))?.options.map(({ label }) => label) ?? [];
}

const STEPS = 'operations:\n  - id: web\n    kind: server.create\n  - id: look\n    ';

test('keys that fit are offered, but for those that are there', () => {
  assert.ok(offered('na|').includes('name'));
  assert.ok(offered('name: x\n|').includes('operations'));
  assert.ok(!offered('name: x\n|\n').includes('name'));
  const keys = offered(`${STEPS}k|`);
  assert.ok(keys.includes('kind') && keys.includes('depends_on') && !keys.includes('id'), keys.join());
  assert.ok(offered(`${STEPS}kind: wait\n    retry: { m| }`).includes('max_attempts'));
  assert.ok(offered('operations:\n  - |').includes('kind'));
});

test('values of the schema are offered, and for a dependency the steps of the text', () => {
  assert.ok(offered(`${STEPS}kind: tas|`).includes('taskserv.create'));
  assert.deepEqual(offered(`${STEPS}on_failure: |`), ['fail', 'continue', 'rollback']);
  assert.ok(offered(`${STEPS}depends_on: [w|]`).includes('web'));
  assert.deepEqual(offered(`${STEPS}with: { seconds: | }`), []);
});

test('a mistake is marked where it stands: of YAML, of the schema, and what the server says', () => {
  const at = (text: string, mark: string) => [text.indexOf(mark), text.indexOf(mark) + mark.length];
  const unknown = 'operations:\n  - id: web\n    kind: server.make\n';
  const [first] = ownProblems(unknown, schema);
  assert.deepEqual([first?.from, first?.to], at(unknown, 'server.make'));
  assert.notDeepEqual(ownProblems('operations: [\n', schema), []);
  assert.deepEqual(ownProblems('operations:\n  - { id: web, kind: wait }\n', schema), []);
  const told = { field: 'operations[0].kind', message: 'is wrong (line 3, column 11)', line: 3, column: 11 };
  assert.deepEqual(serverProblems(unknown, [told]), [
    { from: at(unknown, 'server.make')[0], to: at(unknown, 'server.make')[1], message: 'is wrong' },
  ]);
});
