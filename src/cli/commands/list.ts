import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, type CommandOption, text } from '../command.ts';
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

/** A command that shows a list with its filters. */
export function listCommand({ name, summary, examples, path, filters, view }: ListCommand): CommandDefinition {
  const options: CommandOption[] = Object.entries(filters).map(([parameter, description]) => ({
    flags: `--${parameter.replaceAll('_', '-')} <value>`,
    description,
  }));
  return {
    name,
    summary,
    examples,
    options: [
      ...options,
      { flags: '--sort <field>', description: 'field to sort by, with "-" before it from last to first' },
      { flags: '--limit <number>', description: 'rows at most', default: '1000' },
    ],
    covers: [`GET ${path}`],
    output: true,
    async run(session, _args, values) {
      const limit = Number(text(values, 'limit'));
      if (!Number.isInteger(limit) || limit < 1) throw new UsageError('--limit must be a whole number from 1.');
      const query: Record<string, string> = {};
      for (const parameter of [...Object.keys(filters), 'sort']) {
        const value = text(values, camelCase(parameter));
        if (value !== undefined) query[parameter] = value;
      }
      const client = await session.client();
      const rows: object[] = [];
      for await (const row of client.list(path, query as never)) {
        rows.push(row);
        if (rows.length === limit) break;
      }
      session.rows(rows, view);
    },
  };
}

function camelCase(parameter: string): string {
  return parameter.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
