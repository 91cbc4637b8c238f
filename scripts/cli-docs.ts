import type { CommandDefinition } from '../src/cli/command.ts';
import type { EXIT } from '../src/cli/errors.ts';
import { addCommands, COMMANDS, createProgram } from '../src/cli/program.ts';
import { createTerminal } from '../src/cli/terminal.ts';

/** What each exit status of the command line says. */
export const EXIT_MEANINGS: Record<(typeof EXIT)[keyof typeof EXIT], string> = {
  0: 'success',
  1: 'the operation failed or was cancelled, or the server could not be reached',
  2: 'the command line or the request is invalid',
  3: 'not found',
  4: 'not logged in, or not allowed',
  5: 'conflict with the current state or with a running operation',
  130: 'interrupted; the operation continues, or is cancelled with `--cancel-on-interrupt`',
};

/** What the command line reads from the environment. */
export const ENVIRONMENT_MEANINGS = {
  PROVISIONING_URL: 'address of the server, for pipelines without a login',
  PROVISIONING_TOKEN: 'API token for that server',
  PROVISIONING_CA:
    'PEM file of certificate authorities to trust, for a server whose certificate is not signed by a public one',
  PROVISIONING_CONTEXT: 'context to use instead of the current one',
  XDG_CONFIG_HOME: 'directory of `provisioning/contexts.json` (default `~/.config`); only you can read the file',
  NO_COLOR: 'no colours',
};

const INTRODUCTION = `# The command line

\`provisioning\` is the command-line client. Log in once; the server is then stored as a context:

\`\`\`sh
provisioning login https://provisioning.example
provisioning server create web-01 --provider simulated --plan 2xCPU-4GB --zone de-fra1
\`\`\`

Data goes to standard output. Progress, questions and errors go to standard error. Commands that start an operation show its
progress and wait for its end, unless you give \`--no-wait\`. Ctrl-C leaves the operation running and prints the command to
watch it again. With \`--cancel-on-interrupt\`, Ctrl-C cancels the operation.

Every command that changes something has \`--check\`. It changes nothing: the server answers what the command would do, or why it
would be refused, with the same exit status.

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

Completion: \`source <(provisioning completion bash)\`, or \`zsh\` or \`fish\`.
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
