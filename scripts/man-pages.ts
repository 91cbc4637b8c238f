import type { CommandDefinition } from '../src/cli/command.ts';
import { addCommands, COMMANDS, createProgram } from '../src/cli/program.ts';
import { createTerminal } from '../src/cli/terminal.ts';
import { ENVIRONMENT_MEANINGS, EXIT_MEANINGS } from './cli-docs.ts';

/** Manual pages by file name: `provisioning.1`, and one for each command. */
export function manPages(version: string): Map<string, string> {
  const program = createProgram(version);
  addCommands(program, createTerminal({}), {});
  const pages = new Map<string, string>([['provisioning.1', overview(version)]]);
  for (const definition of COMMANDS) {
    let command = program;
    for (const word of definition.name.split(' '))
      command = command.commands.find((one) => one.name() === word) ?? command;
    pages.set(`provisioning-${definition.name.replaceAll(' ', '-')}.1`, page(definition, command, version));
  }
  return pages;
}

type Program = ReturnType<typeof createProgram>;

function page(definition: CommandDefinition, command: Program, version: string): string {
  const name = `provisioning-${definition.name.replaceAll(' ', '-')}`;
  const lines = [
    heading(name, version),
    section('NAME'),
    `${roff(name)} \\- ${roff(definition.summary)}`,
    section('SYNOPSIS'),
    `.B provisioning ${roff(definition.name)}`,
    roff(command.usage()),
  ];
  if (definition.description !== undefined) lines.push(section('DESCRIPTION'), roff(definition.description));
  for (const argument of definition.arguments ?? [])
    lines.push('.TP', `.I ${roff(argument.name)}`, roff(argument.description));
  lines.push(section('OPTIONS'));
  for (const { flags, description, argChoices, defaultValue } of command.options) {
    const choices = argChoices === undefined ? '' : ` One of ${argChoices.join(', ')}.`;
    const fallback = typeof defaultValue === 'string' ? ` Default: ${defaultValue}.` : '';
    lines.push('.TP', `.B ${roff(flags)}`, roff(`${description}.${choices}${fallback}`));
  }
  lines.push(
    section('EXAMPLES'),
    ...definition.examples.flatMap((example) => ['.PP', '.nf', `.RS`, roff(`$ ${example}`), '.RE', '.fi']),
  );
  lines.push(section('SEE ALSO'), '.BR provisioning (1)');
  return `${lines.join('\n')}\n`;
}

function overview(version: string): string {
  const lines = [
    heading('provisioning', version),
    section('NAME'),
    'provisioning \\- servers, services and clusters, made durably',
    section('SYNOPSIS'),
    '.B provisioning',
    '.I command',
    '[\\fIoptions\\fR]',
    section('DESCRIPTION'),
    'Talks to a server of Provisioning. Log in first:',
    '.BR "provisioning login" .',
    'Data goes to standard output and nothing else does.',
    section('COMMANDS'),
  ];
  for (const { name, summary } of COMMANDS)
    lines.push('.TP', `.BR provisioning-${roff(name.replaceAll(' ', '-'))} (1)`, roff(summary));
  lines.push(section('EXIT STATUS'));
  for (const [status, meaning] of Object.entries(EXIT_MEANINGS)) lines.push('.TP', `.B ${status}`, roff(meaning));
  lines.push(section('ENVIRONMENT'));
  for (const [name, meaning] of Object.entries(ENVIRONMENT_MEANINGS))
    lines.push('.TP', `.B ${roff(name)}`, roff(meaning));
  return `${lines.join('\n')}\n`;
}

function heading(name: string, version: string): string {
  return `.\\" Written by "npm run generate".\n.TH ${roff(name.toUpperCase())} 1 "" "Provisioning ${version}" "User commands"`;
}

function section(title: string): string {
  return `.SH ${title}`;
}

/** Plain text as roff: nothing in it is an instruction. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^(['.])/gm, '\\&$1')
    .replaceAll('`', '');
}
