import { Command, CommanderError, Option } from 'commander';
import type { CommandDefinition, OptionValues } from './command.ts';
import { accountCommands } from './commands/account.ts';
import { apiCommand } from './commands/api.ts';
import { assistantCommands } from './commands/assistant.ts';
import { auditCommands } from './commands/audit.ts';
import { completionCommands } from './commands/completion.ts';
import { contextCommands } from './commands/context.ts';
import { operationCommands } from './commands/operation.ts';
import { orphanCommands } from './commands/orphan.ts';
import { providerCommands } from './commands/provider.ts';
import { scheduleCommands } from './commands/schedule.ts';
import { serverCommands } from './commands/server.ts';
import { systemCommands } from './commands/system.ts';
import { taskservCommands } from './commands/taskserv.ts';
import { tokenCommands } from './commands/token.ts';
import { userCommands } from './commands/user.ts';
import { webhookCommands } from './commands/webhook.ts';
import { workflowCommands } from './commands/workflow.ts';
import { workspaceCommands } from './commands/workspace.ts';
import { existingServerCommands, workspaceSecretCommands } from './commands/workspace-secrets.ts';
import { describeError, EXIT, exitStatusOf } from './errors.ts';
import { OUTPUTS } from './output.ts';
import { createSession } from './session.ts';
import { createTerminal, type Terminal } from './terminal.ts';

/** Every command that talks to a server. */
export const COMMANDS: readonly CommandDefinition[] = [
  ...accountCommands,
  ...contextCommands,
  ...serverCommands,
  ...existingServerCommands,
  ...orphanCommands,
  ...taskservCommands,
  ...workflowCommands,
  ...scheduleCommands,
  ...webhookCommands,
  ...operationCommands,
  ...workspaceCommands,
  ...workspaceSecretCommands,
  ...providerCommands,
  ...userCommands,
  ...tokenCommands,
  ...auditCommands,
  ...systemCommands,
  apiCommand,
  ...assistantCommands,
  ...completionCommands,
];

const GROUPS: Record<string, string> = {
  context: 'the servers that you know, and which one commands go to',
  server: 'make, look at, change and delete servers',
  orphan: 'servers at providers that nobody knows',
  taskserv: 'services on servers',
  workflow: 'whole clusters: graphs of operations',
  schedule: 'workflows by the clock',
  webhook: 'programs that are told of operations',
  credentials: 'accounts of a workspace at clouds',
  operation: 'watch, wait for and cancel what goes on',
  workspace: 'named directories that group servers and their defaults',
  provider: 'the places where servers can be made',
  user: 'who may log in, and what they may',
  token: 'API tokens for programs',
};

/** Adds every command to the program. */
export function addCommands(program: Command, terminal: Terminal, environment: NodeJS.ProcessEnv): void {
  for (const definition of COMMANDS) {
    const words = definition.name.split(' ');
    const verb = words.pop() ?? '';
    const parent = words.reduce(groupOf, program);
    const command = parent.command(verb).summary(definition.summary).description(descriptionOf(definition));
    command.addHelpText('after', examplesOf(definition));
    for (const { name, description, optional, variadic } of definition.arguments ?? []) {
      const word = `${name}${variadic ? '...' : ''}`;
      command.argument(optional ? `[${word}]` : `<${word}>`, description);
    }
    for (const option of optionsOf(definition)) command.addOption(option);
    command.action(async (...given: unknown[]) => {
      const values = command.optsWithGlobals() as OptionValues;
      const args = given.slice(0, definition.arguments?.length ?? 0).flat() as string[];
      await definition.run(
        createSession(terminal, environment, values),
        args.filter((arg) => arg !== undefined),
        values,
      );
    });
  }
}

function groupOf(parent: Command, word: string): Command {
  const known = parent.commands.find((command) => command.name() === word);
  return known ?? parent.command(word).description(GROUPS[word] ?? '');
}

function descriptionOf({ summary, description }: CommandDefinition): string {
  const first = `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
  return description === undefined ? first : `${first}\n\n${description}`;
}

function examplesOf({ examples }: CommandDefinition): string {
  return `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`;
}

/** The options of a command: its own, and those that come with what it does. */
function optionsOf(definition: CommandDefinition): Option[] {
  const options = (definition.options ?? []).map((given) => {
    const option = new Option(given.flags, given.description);
    if (given.choices !== undefined) option.choices([...given.choices]);
    if (given.default !== undefined) option.default(given.default);
    if (given.required) option.makeOptionMandatory();
    if (given.repeatable) option.argParser((value: string, list: string[] | undefined) => [...(list ?? []), value]);
    return option;
  });
  if (definition.operation) {
    options.push(
      new Option('--no-wait', 'return at once; the operation goes on'),
      new Option('--cancel-on-interrupt', 'Ctrl-C cancels the operation instead of leaving it running'),
      new Option('--idempotency-key <key>', 'send again safely: the same key never happens twice'),
    );
  }
  if (definition.output || definition.operation) {
    options.push(
      new Option('-o, --output <format>', 'how the answer is printed').choices([...OUTPUTS]).default('table'),
    );
  }
  if (definition.covers.length > 0) {
    options.push(new Option('--context <name>', 'the server to talk to (see: provisioning context list)'));
  }
  return options;
}

/** Runs a command line and answers its exit status. What went wrong is told on standard error. */
export async function runProgram(
  program: Command,
  argv: readonly string[],
  terminal: Terminal = createTerminal(process.env),
): Promise<number> {
  try {
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    terminal.note(`provisioning: ${describeError(error)}`);
    return exitStatusOf(error);
  }
}

/** The program with the manners that all commands share. */
export function createProgram(version: string): Command {
  return new Command('provisioning')
    .description('Servers, services and clusters, made durably. Log in first: provisioning login http://localhost:8083')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(add --help for more)')
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false });
}
