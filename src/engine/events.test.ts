import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { uuidv7 } from '../database/uuid.ts';
import { createEventWriter, logEvent } from './events.ts';
import type { Signals } from './signals.ts';

const database = await createTestDatabase();
const { db } = database;
after(() => database.close());

const output = (line: string) => logEvent(line, { host: 'web-01', stream: 'stdout' });

type Today = { user: number; workspace: number };

/** A writer with an operation, whose owner and workspace have used so much today. */
function bounded(bounds: { ofUser: number; ofWorkspace: number }, today: Today) {
  const writer = createEventWriter({
    ...{ db, logger: pino({ level: 'silent' }), replicaId: uuidv7() },
    signals: { operationsChanged: () => {} } as unknown as Signals,
    output: {
      ...{ ofOperation: 0, ...bounds },
      add(userId, _workspace, bytes) {
        if (userId !== null) today.user += bytes;
        today.workspace += bytes;
        return userId === null ? { ...today, user: 0 } : { ...today };
      },
    },
  });
  const id = uuidv7();
  const say = async (ownerId: string | null, said: Parameters<typeof writer.append>[1][]) => {
    writer.begin(id, { ownerId, workspace: 'default', eventBytes: 0 });
    for (const event of said) await writer.append(id, event);
  };
  const lines = async () => (await writer.take(id)).map(({ data }) => String(data.line));
  return { writer, id, say, lines };
}

test('past the bound of its workspace only the output of machines is left out, until the day is over', async () => {
  const today = { user: 0, workspace: 0 };
  const { writer, id, say, lines } = bounded({ ofUser: 0, ofWorkspace: 500 }, today);
  await say(uuidv7(), [output('before'), output('x'.repeat(600)), output('left out')]);
  await writer.append(id, logEvent('Deleting web-01 at the provider.'));
  Object.assign(today, { user: 0, workspace: 0 });
  await writer.append(id, output('tomorrow'));
  assert.deepEqual(
    (await lines()).map((line) => line.replace(/^The output of workspace "default" .*/, 'told once')),
    ['before', 'told once', 'Deleting web-01 at the provider.', 'tomorrow'],
  );
  await writer.close();
});

test('past the bound of its owner the output of others in the workspace is kept', async () => {
  const today = { user: 0, workspace: 0 };
  const { writer, say, lines } = bounded({ ofUser: 500, ofWorkspace: 100_000 }, today);
  await say(uuidv7(), [output('loud'), output('x'.repeat(600)), output('left out')]);
  const used = today.workspace;
  await say(null, [output('of nobody')]);
  today.user = 0;
  await say(uuidv7(), [output('of another')]);
  assert.deepEqual(
    (await lines()).map((line) =>
      line.replace(/^The output of this operation's owner .*user_event_bytes.*/, 'told once'),
    ),
    ['loud', 'told once', 'of nobody', 'of another'],
  );
  // What is left out takes nothing of what the workspace may keep.
  assert.ok(used < 1_000, String(used));
  await writer.close();
});
