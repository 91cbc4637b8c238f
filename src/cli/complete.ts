import type { Command } from 'commander';
import type { Client } from '../sdk/client.ts';
import type { CommandDefinition, CommandOption, NameKind } from './command.ts';

/** Names that are offered at most: nobody reads more of them. */
const MAX_NAMES = 200;
/** Whoever presses Tab waits: past this nothing is offered. Milliseconds. */
const PATIENCE_MS = 2_000;

/** What may stand in place of the last word, given the words before it. A server that does not answer offers nothing. */
export async function complete(
  program: Command,
  definitions: readonly CommandDefinition[],
  words: readonly string[],
  connect: (context: string | undefined) => Promise<Client>,
): Promise<string[]> {
  const last = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const { command, rest } = commandOf(program, before);
  const definition = definitions.find(({ name }) => name === nameOf(command));
  const names = (kind: NameKind) => namesOf(kind, before, connect);
  const offered = async () => {
    const previous = before.at(-1) ?? '';
    const asked = command.options.find(({ long, short }) => [long, short].includes(previous));
    if (asked?.argChoices !== undefined) return asked.argChoices;
    if (asked !== undefined && (asked.required || asked.optional)) {
      const kind = definition?.options?.find(({ flags }) => flags.includes(asked.long ?? ' '))?.names;
      // A value that only the user knows.
      return kind === undefined ? [] : names(kind);
    }
    if (last.startsWith('-')) return command.options.flatMap(({ long }) => long ?? []);
    const commands = command.commands.map((candidate) => candidate.name()).filter((name) => !name.startsWith('__'));
    const given = positionals(rest, command).length;
    const argument = definition?.arguments?.[given] ?? lastVariadic(definition);
    if (argument?.values !== undefined) return [...argument.values];
    return argument?.names === undefined ? commands : names(argument.names);
  };
  return (await offered()).filter((candidate) => candidate.startsWith(last)).slice(0, MAX_NAMES);
}

function lastVariadic(definition: CommandDefinition | undefined) {
  const argument = definition?.arguments?.at(-1);
  return argument?.variadic === true ? argument : undefined;
}

function commandOf(program: Command, words: readonly string[]): { command: Command; rest: string[] } {
  let command = program;
  for (const [index, word] of words.entries()) {
    const next = command.commands.find((candidate) => candidate.name() === word);
    if (next === undefined) return { command, rest: words.slice(index) };
    command = next;
  }
  return { command, rest: [] };
}

function nameOf(command: Command): string {
  const names: string[] = [];
  for (let each: Command | null = command; each?.parent != null; each = each.parent) names.unshift(each.name());
  return names.join(' ');
}

/** The words that are neither options nor their values. */
function positionals(words: readonly string[], command: Command): string[] {
  return words.filter((word, index) => {
    if (word.startsWith('-')) return false;
    const previous = command.options.find(({ long, short }) => [long, short].includes(words[index - 1]));
    return previous === undefined || !(previous.required || previous.optional);
  });
}

async function namesOf(
  kind: NameKind,
  before: readonly string[],
  connect: (context: string | undefined) => Promise<Client>,
): Promise<string[]> {
  try {
    const client = await connect(optionValue(before, '--context'));
    const found = await ASK[kind](client, AbortSignal.timeout(PATIENCE_MS), before);
    return [...new Set(found)];
  } catch {
    // An error in the middle of a line that somebody types helps nobody; the command itself will tell it.
    return [];
  }
}

type Ask = (client: Client, signal: AbortSignal, before: readonly string[]) => Promise<string[]>;

const ASK: Record<NameKind, Ask> = {
  server: async (client, signal) => (await rows(client, '/v1/servers', signal)).map(({ hostname }) => hostname),
  taskserv: async (client, signal) => (await rows(client, '/v1/taskservs', signal)).map(({ name }) => name),
  workspace: async (client, signal) => (await rows(client, '/v1/workspaces', signal)).map(({ name }) => name),
  username: async (client, signal) => (await rows(client, '/v1/users', signal)).map(({ username }) => username),
  operation: async (client, signal) => (await rows(client, '/v1/operations', signal)).map(({ id }) => id),
  workflow: async (client, signal) => (await rows(client, '/v1/workflows', signal)).map(({ id }) => id),
  'workflow-type': async (client, signal) =>
    (await client.get('/v1/workflow-types', { signal })).map(({ name }) => name),
  catalog: async (client, signal) => (await client.get('/v1/catalog/taskservs', { signal })).map(({ name }) => name),
  provider: async (client, signal) => (await client.get('/v1/providers', { signal })).map(({ name }) => name),
  async plan(client, signal, before) {
    const path = { name: optionValue(before, '--provider') ?? '' };
    return (await client.get('/v1/providers/{name}/plans', { path, signal })).map(({ name }) => name);
  },
  async zone(client, signal, before) {
    const path = { name: optionValue(before, '--provider') ?? '' };
    return (await client.get('/v1/providers/{name}/zones', { path, signal })).map(({ name }) => name);
  },
};

async function rows<P extends Parameters<Client['page']>[0]>(client: Client, path: P, signal: AbortSignal) {
  return (await client.page(path, { perPage: MAX_NAMES, signal })).rows;
}

function optionValue(before: readonly string[], option: CommandOption['flags']): string | undefined {
  const at = before.lastIndexOf(option);
  return at < 0 ? undefined : before[at + 1];
}
