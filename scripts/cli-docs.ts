import type { CommandDefinition } from '../src/cli/command.ts';
import type { EXIT } from '../src/cli/errors.ts';
import { addCommands, COMMANDS, createProgram } from '../src/cli/program.ts';
import { createTerminal } from '../src/cli/terminal.ts';

/** What each exit status of the command line says. */
export const EXIT_MEANINGS: Record<(typeof EXIT)[keyof typeof EXIT], string> = {
  0: 'done',
  1: 'it failed, or was cancelled; the server could not be reached',
  2: 'the command line or the request was wrong',
  3: 'what was named does not exist',
  4: 'not logged in, or not allowed',
  5: 'it conflicts with what is there or goes on',
  130: 'interrupted; the operation goes on, or was cancelled where `--cancel-on-interrupt` says so',
};

/** What the command line reads from the environment. */
export const ENVIRONMENT_MEANINGS = {
  PROVISIONING_URL: 'the server, for pipelines: no file is needed',
  PROVISIONING_TOKEN: 'an API token for it',
  PROVISIONING_CA: 'a PEM file of authorities to trust, for a server whose certificate no public one has signed',
  PROVISIONING_CONTEXT: 'the context to use instead of the current one',
  XDG_CONFIG_HOME: 'where `provisioning/contexts.json` lies (default `~/.config`); only you can read it',
  NO_COLOR: 'no colours',
};

const INTRODUCTION = `# The command line

\`provisioning\` talks to a server. Log in once, and the server is remembered as a context:

\`\`\`sh
provisioning login https://provisioning.example
provisioning server create web-01 --provider simulated --plan 2xCPU-4GB --zone de-fra1
\`\`\`

Data goes to standard output and nothing else does; progress, questions and errors go to standard error. What sets off an
operation waits for its end and shows it live, unless \`--no-wait\` is given. Ctrl-C leaves the operation running and says
how to come back to it; with \`--cancel-on-interrupt\` it cancels the operation.

\`--check\`, which every command that changes something has, changes nothing: the server answers what the command would do, or refuses
it as it would refuse the command, with the same exit status.

| exit status | means |
|---|---|
${Object.entries(EXIT_MEANINGS)
  .map(([status, meaning]) => `| ${status} | ${meaning} |`)
  .join('\n')}

| environment | means |
|---|---|
${Object.entries(ENVIRONMENT_MEANINGS)
  .map(([name, meaning]) => `| \`${name}\` | ${meaning} |`)
  .join('\n')}

Completion: \`source <(provisioning completion bash)\`, likewise \`zsh\` and \`fish\`.
`;

/** The manual: a page for each group of commands and one that leads to them, by file name. */
export function cliPages(): Map<string, string> {
  const program = createProgram('');
  addCommands(program, createTerminal({}), {});
  const groups = new Map<string, CommandDefinition[]>();
  for (const definition of COMMANDS) {
    const group = definition.name.split(' ')[0] ?? '';
    groups.set(group, [...(groups.get(group) ?? []), definition]);
  }
  const pages = new Map<string, string>();
  const contents: string[] = [];
  for (const [group, definitions] of groups) {
    const sections = definitions.map(
      ({ name }) => `## provisioning ${name}\n\n\`\`\`text\n${helpOf(program, name)}\`\`\`\n`,
    );
    pages.set(`${group}.md`, `# provisioning ${group}\n\n${sections.join('\n')}`);
    for (const { name, summary } of definitions) contents.push(`- [\`${name}\`](${group}.md): ${summary}`);
  }
  pages.set('README.md', `${INTRODUCTION}\n## Commands\n\n${contents.join('\n')}\n`);
  return pages;
}

function helpOf(program: ReturnType<typeof createProgram>, name: string): string {
  let command = program;
  for (const word of name.split(' ')) command = command.commands.find((one) => one.name() === word) ?? command;
  let help = '';
  command.configureOutput({
    writeOut: (text) => (help += text),
    getOutHelpWidth: () => 100,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return help;
}
