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
  .description('create or update the tables, then end')
  .option(...configFile)
  .option(...dataDir)
  .action(async (flags) => (await server()).migrate(flags));

program
  .command('backup')
  .description('write everything to a file, while servers go on working; the master key is not in it')
  .argument('<file>', 'the file to make')
  .option('--no-files', 'without the files of workspaces')
  .option('--recipient <key>', 'encrypt it to this public key of age ("age1…"); may be given again', collect)
  .option(...configFile)
  .option(...dataDir)
  .action(async (file, flags) => (await server()).backup(file, flags));

program
  .command('restore')
  .description('put a backup into an empty database; all servers of it must be stopped')
  .argument('<file>', 'what "provisioning backup" made')
  .option('--force', 'also into a database that is not empty: everything in it is LOST')
  .option('--identity <file>', 'the file with the secret key of age, for a backup that is encrypted')
  .option('--no-files', 'without the files of workspaces')
  .option(...configFile)
  .option(...dataDir)
  .action(async (file, flags) => (await server()).restoreFrom(file, flags));

program
  .command('reset-login')
  .description(
    'give a user a new password and take their second factor off, where no administrator can log in to do it',
  )
  .argument('<user>', 'the name of the user')
  .option(...configFile)
  .option(...dataDir)
  .action(async (user, flags) => (await server()).resetLoginOf(user, flags));

program
  .command('audit-key')
  .description('print the key of the audit log\'s checkpoints, for "provisioning audit verify" elsewhere')
  .option(...configFile)
  .option(...dataDir)
  .action(async (flags) => (await server()).printAuditKey(flags));

/** The values of an option that may be given again. */
function collect(value: string, list: string[] = []): string[] {
  return [...list, value];
}

addCommands(program, terminal, process.env);

process.exitCode = await runProgram(program, process.argv.slice(2), terminal, process.env);
