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

test('past the bound of its workspace only the output of machines is left out, until the day is over', async () => {
  let today = 0;
  const writer = createEventWriter({
    ...{ db, logger: pino({ level: 'silent' }), replicaId: uuidv7() },
    signals: { operationsChanged: () => {} } as unknown as Signals,
    output: {
      ofOperation: 0,
      ofWorkspace: 500,
      add: (_workspace, bytes) => {
        today += bytes;
        return today;
      },
    },
  });
  const id = uuidv7();
  writer.begin(id, 'default', 0);
  await writer.append(id, output('before'));
  await writer.append(id, output('x'.repeat(600)));
  await writer.append(id, output('left out'));
  await writer.append(id, logEvent('Deleting web-01 at the provider.'));
  today = 0;
  await writer.append(id, output('tomorrow'));
  const lines = (await writer.take(id)).map(({ data }) => String(data.line));
  assert.deepEqual(
    lines.map((line) => line.replace(/^The output of workspace .*/, 'told once')),
    ['before', 'told once', 'Deleting web-01 at the provider.', 'tomorrow'],
  );
  await writer.close();
});
