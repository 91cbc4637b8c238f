/** The commands that are the server or work on its database: `serve`, `migrate`, `backup`, `restore`, … */
import { once } from 'node:events';
import type { Logger } from 'pino';
import { auditKey } from './access/audit-sealer.ts';
import { findMasterKey, openEncryption } from './access/master-key.ts';
import { resetLogin } from './accounts/reset-login.ts';
import { backUp } from './backup/backup.ts';
import { readIdentities } from './backup/encryption.ts';
import { BackupError } from './backup/errors.ts';
import { restore } from './backup/restore.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { DiskError } from './database/disk.ts';
import { type ConnectionSettings, createDatabase, createPool } from './database/pool.ts';
import { ApplicationError } from './errors.ts';
import { createLogger, migrateDatabase, startServer, withDatabase, withSharedDatabase } from './server.ts';
import { nameSources } from './stack-traces.ts';

/** Exit status of a setting that cannot be used. */
const USAGE_EXIT_STATUS = 2;
/** Files named one by one at most. */
const MAX_TOLD = 20;
/** How long a graceful stop may take, after `SHUTDOWN_DELAY`, before it is cut short. */
const STOP_TIMEOUT_MS = 60_000;

/** The command line's flags; each wins over the environment and the file. */
export interface ServeFlags {
  config?: string;
  host?: string;
  port?: string;
  role?: string;
  dataDir?: string;
}

/** Starts the server and lets it run until a signal ends it. Ends the process when it cannot start. */
export async function serve(flags: ServeFlags): Promise<void> {
  try {
    await startAndStayUp(configFrom(flags));
  } catch (error) {
    endProcess(error);
  }
}

/** Creates or updates the tables. */
export async function migrate(flags: ServeFlags): Promise<void> {
  try {
    const config = configFrom(flags);
    const logger = createLogger(config);
    const ran = await withDatabase(config, logger, (db, settings) => migrateDatabase(settings, db, logger), {
      signal: stopSignal(logger),
    });
    process.stdout.write(ran.length === 0 ? 'The database is up to date.\n' : `Migrated: ${ran.join(', ')}\n`);
  } catch (error) {
    endProcess(error);
  }
}

export interface BackupFlags extends ServeFlags {
  files: boolean;
  recipient?: string[];
}

export interface RestoreFlags extends ServeFlags {
  files: boolean;
  force?: true;
  identity?: string;
}

/** Writes a backup of the database and the workspaces' files. */
export async function backup(file: string, flags: BackupFlags): Promise<void> {
  try {
    const config = configFrom(flags);
    const logger = createLogger(config);
    const signal = stopSignal(logger);
    const { files: withFiles, recipient: recipients = [] } = flags;
    const options = { file, dataDir: config.dataDir, withFiles, recipients, signal };
    const made = await withSharedDatabase(config, logger, (settings) => backUp(settings, options), { signal });
    const { place } = await findMasterKey(config, made.masterKeyId);
    const mebibytes = (made.bytes / 1024 / 1024).toFixed(1);
    say(`Backup written to ${file}: ${made.tables} tables, ${made.files} files, ${mebibytes} MiB.`);
    for (const skipped of made.skipped.slice(0, MAX_TOLD)) say(`  not included: ${skipped}`);
    if (made.skipped.length > MAX_TOLD) say(`  and ${made.skipped.length - MAX_TOLD} more`);
    if (recipients.length > 0)
      say(`Encrypted: only the secret keys of its recipients (${recipients.length}) can open it.`);
    say(
      `The backup does NOT contain the master key. Keep a copy of ${place} in another place: without it, the secrets cannot be decrypted.`,
    );
    process.exit(0);
  } catch (error) {
    endProcess(error);
  }
}

/** Prints the key of the audit log's checkpoints, for whoever verifies exports elsewhere. */
export async function printAuditKey(flags: ServeFlags): Promise<void> {
  try {
    const config = configFrom(flags);
    const logger = createLogger(config);
    const key = await withSharedDatabase(
      config,
      logger,
      async (settings) => {
        const db = createDatabase(createPool(settings, { max: 1, applicationName: 'provisioning' }));
        try {
          return auditKey(await openEncryption(db, config, logger));
        } finally {
          await db.destroy();
        }
      },
      { signal: stopSignal(logger) },
    );
    process.stdout.write(`${key.toString('hex')}\n`);
    process.exit(0);
  } catch (error) {
    endProcess(error);
  }
}

/** Puts a backup into an empty database. */
export async function restoreFrom(file: string, flags: RestoreFlags): Promise<void> {
  try {
    const config = configFrom(flags);
    const logger = createLogger(config);
    const identities = flags.identity === undefined ? [] : await readIdentities(flags.identity);
    const options = { file, config, logger, force: flags.force === true, withFiles: flags.files, identities };
    const done = await withDatabase(config, logger, (db, settings) => restore(settings, db, options), {
      signal: stopSignal(logger),
    });
    const { manifest, tables, migrated, files } = done;
    say(
      `Restored the state of ${manifest.created_at} (version ${manifest.application}): ${tables} tables, ${files.written} files.`,
    );
    if (migrated.length > 0) say(`Migrated: ${migrated.join(', ')}`);
    for (const kept of files.kept.slice(0, MAX_TOLD)) say(`  kept, because the file already exists: ${kept}`);
    for (const refused of files.refused.slice(0, MAX_TOLD))
      say(`  not restored, because it is not below a workspace root: ${refused}`);
    const key = await findMasterKey(config, manifest.master_key_id);
    if (!key.present)
      say(
        `Put the master key in place before you start the server (${key.place}): without it, the secrets cannot be decrypted.`,
      );
    else if (!key.fits)
      say(`The master key here does not match the backup (${key.place}): the secrets cannot be decrypted with it.`);
    process.exit(0);
  } catch (error) {
    endProcess(error);
  }
}

/** Lets a user in again whom no administrator can help. */
export async function resetLoginOf(user: string, flags: ServeFlags): Promise<void> {
  try {
    const config = configFrom(flags);
    const logger = createLogger(config);
    const reset = async (settings: ConnectionSettings) => {
      const db = createDatabase(createPool(settings, { max: 1, applicationName: 'provisioning reset-login' }));
      return resetLogin(db, user).finally(() => db.destroy());
    };
    const password = await withSharedDatabase(config, logger, reset, { signal: stopSignal(logger) });
    say(`New password of user "${user}":  ${password}  It is not shown again. No code is needed.`);
    say('All their sessions and API tokens have ended.');
    process.exit(0);
  } catch (error) {
    endProcess(error);
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function endProcess(error: unknown): never {
  process.stderr.write(`provisioning: ${error instanceof Error ? error.message : String(error)}\n`);
  const told = [ApplicationError, ConfigError, BackupError, DiskError].some((kind) => error instanceof kind);
  if (!told && error instanceof Error) process.stderr.write(`${nameSources(error.stack ?? '')}\n`);
  process.exit(error instanceof ConfigError ? USAGE_EXIT_STATUS : 1);
}

function configFrom(flags: ServeFlags): Config {
  return loadConfig({ HOST: flags.host, PORT: flags.port, ROLE: flags.role, DATA_DIR: flags.dataDir }, flags.config);
}

async function startAndStayUp(config: Config): Promise<void> {
  const logger = createLogger(config);
  const signal = stopSignal(logger, config.shutdownDelay * 1_000);
  const server = await startServer(config, logger, { signal, showPassword }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
    if (error !== signal.reason) logger.warn({ err: error }, 'stopped while starting');
    process.exit(0);
  });
  if (server.address !== null && config.tls === null && !['127.0.0.1', 'localhost', '::1'].includes(config.host)) {
    logger.warn(
      `listening on ${config.host} without TLS: set PROVISIONING_TLS_CERT_FILE and PROVISIONING_TLS_KEY_FILE, or put a proxy with TLS in front. Without TLS, tokens are sent in plain text`,
    );
  }
  logger.info(server.address === null ? 'worker running' : `listening on ${server.address}`);

  if (!signal.aborted) await once(signal, 'abort');
  try {
    await server.close();
  } catch (error) {
    logger.error({ err: error }, 'stopping the server failed');
    process.exit(1);
  }
  process.exit(0);
}

/** Straight to the person, once: never through the log. */
function showPassword(password: string): void {
  process.stderr.write(
    `\n  First start: log in as "admin" with the password  ${password}\n  It is not shown again.\n\n`,
  );
}

/** Fires at SIGTERM and SIGINT. A second one ends the process at once, and so does a stop that takes too long. */
function stopSignal(logger: Logger, delayMs = 0): AbortSignal {
  const controller = new AbortController();
  const stop = (signal: string) => {
    if (controller.signal.aborted) process.exit(130);
    logger.info(`${signal}: stopping; running work continues at the next start or on another replica`);
    setTimeout(() => process.exit(1), STOP_TIMEOUT_MS + delayMs).unref();
    controller.abort(new Error(`${signal} while starting`));
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  return controller.signal;
}
