/**
 * A reporter for `node --test`: the files in which tests were skipped for something that the machine lacks, one a line,
 * to be run again where it is there. What a provider cannot do is skipped everywhere.
 */
import path from 'node:path';
import type { TestEvent } from 'node:test/reporters';

export default async function* skippedFiles(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files = new Set<string>();
  for await (const event of events) {
    if (event.type !== 'test:pass' || event.data.skip === undefined || event.data.file === undefined) continue;
    if (typeof event.data.skip === 'string' && event.data.skip.startsWith('this provider')) continue;
    files.add(path.relative('.', event.data.file));
  }
  yield [...files].map((file) => `${file}\n`).join('');
}
