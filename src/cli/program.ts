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
import { identityProviderCommands } from './commands/identity-provider.ts';
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
  ...identityProviderCommands,
  ...auditCommands,
  ...systemCommands,
  apiCommand,
  ...assistantCommands,
  ...completionCommands,
];

const GROUPS: Record<string, string> = {
  context: 'servers that you have logged in to, and the current one',
  server: 'create, show, change and delete servers',
  orphan: 'servers at a provider that are not recorded here',
  taskserv: 'services on servers',
  cluster: 'Kubernetes clusters',
  workflow: 'graphs of operations, such as whole clusters',
  schedule: 'scheduled workflows',
  webhook: 'URLs that receive events',
  credentials: 'cloud credentials of a workspace',
  secret: 'secrets of a workspace for its services and workflows',
  operation: 'list, watch, wait for and cancel operations',
  workspace: 'named directories that group servers and their defaults',
  provider: 'providers, their plans and zones',
  user: 'users and their roles',
  session: 'your logins',
  totp: 'second factor for logins: codes of an authenticator app',
  token: 'API tokens for programs',
  'service-account': 'accounts for programs, owned by a workspace',
  'identity-provider': 'OpenID Connect issuers for users and CI jobs',
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
      if (args.includes(''))
        throw new UsageError('An argument is empty. Check that the variables of your script are set.');
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
      new Option('--wait', 'wait for the end and show the progress (default)'),
      new Option('--no-wait', 'return at once; the operation continues'),
      new Option('--idempotency-key <key>', 'safe retries: a repeated request with this key takes effect once'),
    );
  }
  if (definition.operation || definition.waits) {
    options.push(new Option('--cancel-on-interrupt', 'Ctrl-C cancels the operation instead of leaving it running'));
  }
  if (definition.covers.some(changes)) {
    options.push(new Option('--check', 'change nothing; show what would happen'));
  }
  if (definition.plain === undefined) {
    options.push(new Option('-o, --output <format>', 'output format').choices([...OUTPUTS]).default('table'));
  }
  if (definition.covers.length > 0) {
    options.push(new Option('--context <name>', 'context to use (see: provisioning context list)'));
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

Every command has examples: provisioning server create --help. Output for programs: --output json, yaml or name.`;

/** The program with the manners that all commands share. */
export function createProgram(version: string): Command {
  return new Command('provisioning')
    .description(
      'Create and manage servers, services and clusters. Log in first: provisioning login http://localhost:8083',
    )
    .version(version)
    .exitOverride()
    .showHelpAfterError('(add --help for more)')
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText('after', FIRST_STEPS);
}
