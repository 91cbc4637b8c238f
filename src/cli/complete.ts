import type { Command } from 'commander';

/** What may stand in place of the last word, given the words before it. */
export function complete(program: Command, words: readonly string[]): string[] {
  const before = words.slice(0, -1);
  const last = words.at(-1) ?? '';
  let command = program;
  for (const word of before) {
    const next = command.commands.find((candidate) => candidate.name() === word);
    if (next !== undefined) command = next;
  }
  const asked = command.options.find(({ long, short }) => [long, short].includes(before.at(-1)) && before.length > 0);
  if (asked?.argChoices !== undefined) return asked.argChoices.filter((choice) => choice.startsWith(last));
  // A value that only the user knows.
  if (asked !== undefined && (asked.required || asked.optional)) return [];
  const options = last.startsWith('-') ? command.options.flatMap(({ long }) => long ?? []) : [];
  const commands = command.commands.map((candidate) => candidate.name());
  return [...commands, ...options].filter((candidate) => candidate.startsWith(last) && !candidate.startsWith('__'));
}
