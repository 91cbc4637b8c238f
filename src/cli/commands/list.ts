import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, type CommandOption, given, type NameKind, text } from '../command.ts';
import { UsageError } from '../errors.ts';
import type { View } from '../output.ts';

type ListPath = Parameters<Client['list']>[0];

interface ListCommand {
  name: string;
  summary: string;
  examples: readonly string[];
  path: ListPath;
  /** Query parameter → what it filters by. */
  filters: Record<string, string>;
  view: View;
}

/** Filters that every list has. */
const CREATED = {
  created_after: 'only at or after this time (RFC 3339 or a date)',
  created_before: 'only before this time',
};
/** Filters whose value completion can ask the server for. */
const NAMED_FILTERS: Record<string, NameKind> = {
  workspace: 'workspace',
  provider: 'provider',
  hostname: 'server',
  workflow_type: 'workflow-type',
  username: 'username',
  user: 'username',
  created_by: 'username',
  principal: 'username',
};
const DEFAULT_LIMIT = 1_000;

/** A command that shows a list with its filters. */
export function listCommand({ name, summary, examples, path, filters, view }: ListCommand): CommandDefinition {
  // Those of the list come first, and say it in their own words.
  const all = { ...filters, ...CREATED, ...filters };
  const options: CommandOption[] = Object.entries(all).map(([parameter, description]) => ({
    flags: `--${parameter.replaceAll('_', '-')} <value>`,
    description,
    ...given({ names: NAMED_FILTERS[parameter] }),
  }));
  return {
    name,
    summary,
    examples,
    options: [
      ...options,
      { flags: '--sort <field>', description: 'field to sort by; "-field" sorts in descending order' },
      {
        flags: '--limit <number>',
        description: 'maximum number of rows; 0: all, printed as they arrive',
        default: String(DEFAULT_LIMIT),
      },
    ],
    covers: [`GET ${path}`],
    async run(session, _args, values) {
      const limit = Number(text(values, 'limit'));
      if (!Number.isInteger(limit) || limit < 0)
        throw new UsageError('--limit must be a whole number. 0 shows all rows.');
      const query: Record<string, string> = {};
      for (const parameter of [...Object.keys(all), 'sort']) {
        const value = text(values, camelCase(parameter));
        if (value !== undefined) query[parameter] = value;
      }
      const rows = (await session.client()).list(path, query as never);
      const cut = { more: false };
      const count = await session.stream(limit === 0 ? rows : first(rows, limit, cut), view);
      if (cut.more) session.terminal.note(`Only the first ${count} rows are shown. Show all: --limit 0`);
    },
  };
}

/** The first rows; `cut.more` tells whether there were others. */
async function* first<R>(rows: AsyncIterable<R>, limit: number, cut: { more: boolean }): AsyncGenerator<R> {
  let count = 0;
  for await (const row of rows) {
    if (count === limit) {
      cut.more = true;
      return;
    }
    count += 1;
    yield row;
  }
}

function camelCase(parameter: string): string {
  return parameter.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
