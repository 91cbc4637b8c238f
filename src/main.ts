import { addCommands, createProgram, runProgram } from './cli/program.ts';
import { createTerminal } from './cli/terminal.ts';
import { VERSION } from './version.ts';

/** The server is loaded only by the commands that are the server: the others start in a fraction of the time. */
const server = () => import('./serve.ts');

const terminal = createTerminal(process.env);
const program = createProgram(VERSION);
const dataDir = ['--data-dir <directory>', 'embedded database and generated files (default ./.provisioning)'] as const;
const configFile = ['--config <file>', 'TOML file with settings'] as const;

program
  .command('serve')
  .description('run the API server and its workers')
  .option(...configFile)
  .option('--host <address>', 'address to listen on (default 127.0.0.1)')
  .option('--port <number>', 'port to listen on (default 8083)')
  .option('--role <role>', 'all, api or worker (default all)')
  .option(...dataDir)
  .action(async (flags) => (await server()).serve(flags));

program
  .command('migrate')
  .description('create or update the database tables, then exit')
  .option(...configFile)
  .option(...dataDir)
  .action(async (flags) => (await server()).migrate(flags));

program
  .command('backup')
  .description('write a backup to a file while servers keep running; it does not contain the master key')
  .argument('<file>', 'backup file to create')
  .option('--no-files', 'leave out the files of workspaces')
  .option('--recipient <key>', 'encrypt it for this age public key ("age1…"); can be repeated', collect)
  .option(...configFile)
  .option(...dataDir)
  .action(async (file, flags) => (await server()).backup(file, flags));

program
  .command('restore')
  .description('restore a backup into an empty database; stop all servers that use it first')
  .argument('<file>', 'backup file')
  .option('--force', 'restore even if the database is not empty: ALL its data is DELETED first')
  .option('--identity <file>', 'file with the age secret key, for an encrypted backup')
  .option('--no-files', 'leave out the files of workspaces')
  .option(...configFile)
  .option(...dataDir)
  .action(async (file, flags) => (await server()).restoreFrom(file, flags));

program
  .command('reset-login')
  .description('set a new password for a user and remove their second factor, if no administrator can log in to do it')
  .argument('<user>', 'user name')
  .option(...configFile)
  .option(...dataDir)
  .action(async (user, flags) => (await server()).resetLoginOf(user, flags));

program
  .command('audit-key')
  .description('print the key of the audit checkpoints, for "provisioning audit verify" on another machine')
  .option(...configFile)
  .option(...dataDir)
  .action(async (flags) => (await server()).printAuditKey(flags));

/** The values of an option that can be repeated. */
function collect(value: string, list: string[] = []): string[] {
  return [...list, value];
}

addCommands(program, terminal, process.env);

process.exitCode = await runProgram(program, process.argv.slice(2), terminal, process.env);
