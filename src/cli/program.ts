import { Command, CommanderError, Option } from 'commander';
import { changes } from './checking.ts';
import { type CommandDefinition, given, type OptionValues } from './command.ts';
import { accountCommands } from './commands/account.ts';
import { apiCommand } from './commands/api.ts';
import { assistantCommands } from './commands/assistant.ts';
import { auditCommands } from './commands/audit.ts';
import { clusterCommands } from './commands/cluster.ts';
import { completionCommands } from './commands/completion.ts';
import { contextCommands } from './commands/context.ts';
import { limitCommands } from './commands/limits.ts';
import { operationCommands } from './commands/operation.ts';
import { orphanCommands } from './commands/orphan.ts';
import { providerCommands } from './commands/provider.ts';
import { scheduleCommands } from './commands/schedule.ts';
import { serverCommands } from './commands/server.ts';
import { serviceAccountCommands } from './commands/service-account.ts';
import { sessionCommands } from './commands/session.ts';
import { systemCommands } from './commands/system.ts';
import { taskservCommands } from './commands/taskserv.ts';
import { tokenCommands } from './commands/token.ts';
import { totpCommands } from './commands/totp.ts';
import { userCommands } from './commands/user.ts';
import { webhookCommands } from './commands/webhook.ts';
import { workflowCommands } from './commands/workflow.ts';
import { workspaceCommands } from './commands/workspace.ts';
import { existingServerCommands, workspaceSecretCommands } from './commands/workspace-secrets.ts';
import { complete } from './complete.ts';
import { createSession } from './create-session.ts';
import { describeError, EXIT, exitStatusOf, UsageError } from './errors.ts';
import { OUTPUTS } from './output.ts';
import type { Terminal } from './terminal.ts';

/** Every command that talks to a server. */
export const COMMANDS: readonly CommandDefinition[] = [
  ...accountCommands,
  ...sessionCommands,
  ...totpCommands,
  ...contextCommands,
  ...serverCommands,
  ...existingServerCommands,
  ...orphanCommands,
  ...taskservCommands,
  ...clusterCommands,
  ...workflowCommands,
  ...scheduleCommands,
  ...webhookCommands,
  ...operationCommands,
  ...workspaceCommands,
  ...workspaceSecretCommands,
  ...limitCommands,
  ...providerCommands,
  ...userCommands,
  ...tokenCommands,
  ...serviceAccountCommands,
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
  cluster: 'Kubernetes clusters',
  workflow: 'whole clusters: graphs of operations',
  schedule: 'workflows by the clock',
  webhook: 'programs that are told of operations',
  credentials: 'accounts of a workspace at clouds',
  secret: 'secrets that a workspace keeps for its services and workflows',
  operation: 'watch, wait for and cancel what goes on',
  workspace: 'named directories that group servers and their defaults',
  provider: 'the places where servers can be made',
  user: 'who may log in, and what they may',
  session: 'logins that have not ended',
  totp: 'codes of an authenticator app, which logins ask for besides the password',
  token: 'API tokens for programs',
  'service-account': 'users for programs, which a workspace owns',
};

/** Adds every command to the program. */
export function addCommands(program: Command, terminal: Terminal, environment: NodeJS.ProcessEnv): void {
  addCompletion(program, terminal, environment);
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
    command.action(async (...handed: unknown[]) => {
      const values = command.optsWithGlobals() as OptionValues;
      const args = handed.slice(0, definition.arguments?.length ?? 0).flat() as string[];
      if (args.includes('')) throw new UsageError('An argument is empty. Is a variable of your script not set?');
      const session = createSession(terminal, environment, values);
      const present = args.filter((arg) => arg !== undefined);
      await definition.run(session, present, values);
      if (values.check === true) terminal.note('Only checked: nothing was changed.');
    });
  }
}

function addCompletion(program: Command, terminal: Terminal, environment: NodeJS.ProcessEnv): void {
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: string[]) => {
      const connect = (context: string | undefined) =>
        createSession(terminal, environment, given({ context })).client();
      const found = await complete(program, COMMANDS, words, connect);
      terminal.out(found.map((word) => `${word}\n`).join(''));
    });
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
  const options = (definition.options ?? []).map((own) => {
    const option = new Option(own.flags, own.description);
    if (own.choices !== undefined) option.choices([...own.choices]);
    if (own.default !== undefined) option.default(own.default);
    if (own.required) option.makeOptionMandatory();
    if (own.repeatable) option.argParser((value: string, list: string[] | undefined) => [...(list ?? []), value]);
    return option;
  });
  if (definition.operation) {
    options.push(
      new Option('--wait', 'wait for the end and show what happens (the default)'),
      new Option('--no-wait', 'return at once; the operation goes on'),
      new Option('--idempotency-key <key>', 'send again safely: the same key never happens twice'),
    );
  }
  if (definition.operation || definition.waits) {
    options.push(new Option('--cancel-on-interrupt', 'Ctrl-C cancels the operation instead of leaving it running'));
  }
  if (definition.covers.some(changes)) {
    options.push(new Option('--check', 'change nothing; show what the server would answer'));
  }
  if (definition.plain === undefined) {
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
  terminal: Terminal,
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  try {
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    terminal.note(`provisioning: ${describeError(error, environment)}`);
    return exitStatusOf(error);
  }
}

const FIRST_STEPS = `
First steps:
  $ provisioning login http://localhost:8083
  $ provisioning server create web-01 --provider simulated --plan 2xCPU-4GB --zone de-fra1 --check
  $ provisioning server create web-01 --provider simulated --plan 2xCPU-4GB --zone de-fra1
  $ provisioning taskserv create redis --server web-01
  $ provisioning operation list --status running

Every command has examples: provisioning server create --help. Answers for programs: --output json, yaml or name.`;

/** The program with the manners that all commands share. */
export function createProgram(version: string): Command {
  return new Command('provisioning')
    .description('Servers, services and clusters, made durably. Log in first: provisioning login http://localhost:8083')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(add --help for more)')
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText('after', FIRST_STEPS);
}
