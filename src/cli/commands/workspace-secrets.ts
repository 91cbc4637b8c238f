import { readFile } from 'node:fs/promises';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';

const WORKSPACE = { name: 'workspace', description: 'name of the workspace', names: 'workspace' } as const;
const PROVIDER = { name: 'provider', description: 'name of the provider', names: 'provider' } as const;
const SECRET_KEY = { name: 'key', description: 'key of the secret: lower-case letters, digits and _' } as const;
const IN_WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'workspace of the secret',
  default: 'default',
} as const;
const CREDENTIAL_FIELDS = [
  'token',
  'username',
  'password',
  'access_key_id',
  'secret_access_key',
  'session_token',
  'region',
];

/** Credentials as JSON on standard input: they must not stand on a command line. @throws UsageError */
async function credentialsFrom(session: Session): Promise<Record<string, string>> {
  const content = await session.terminal.readAll();
  try {
    const fields: unknown = JSON.parse(content);
    if (typeof fields === 'object' && fields !== null) return fields as Record<string, string>;
  } catch {
    // Said below: the parser's own message would repeat a part of the secret.
  }
  throw new UsageError(
    `Standard input must be a JSON object with some of these fields: ${CREDENTIAL_FIELDS.join(', ')}.`,
  );
}

/** @throws UsageError */
async function secretFrom(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  }
}

const workspaceOf = (options: OptionValues) => text(options, 'workspace') ?? 'default';

/** What a workspace keeps secret: its accounts at clouds, its secrets and its SSH key. */
export const workspaceSecretCommands: readonly CommandDefinition[] = [
  {
    name: 'workspace credentials list',
    summary: 'list the clouds for which a workspace has its own credentials',
    examples: ['provisioning workspace credentials list production'],
    arguments: [WORKSPACE],
    covers: ['GET /v1/workspaces/{name}/credentials'],
    async run(session, [name = '']) {
      const rows = await (await session.client()).get('/v1/workspaces/{name}/credentials', { path: { name } });
      session.rows(rows, {
        columns: [field('provider'), field('created_by', 'by'), field('updated_at', 'updated')],
        name: 'provider',
      });
    },
  },
  {
    name: 'workspace credentials set',
    summary: 'set the credentials of a workspace for a cloud',
    description: `Reads a JSON object from standard input, with some of ${CREDENTIAL_FIELDS.join(', ')}. The server verifies the credentials with the cloud, stores them encrypted and never shows them.`,
    examples: ['provisioning workspace credentials set production hetzner < hetzner.json'],
    arguments: [WORKSPACE, PROVIDER],
    covers: ['PUT /v1/workspaces/{name}/credentials/{provider}'],
    async run(session, [name = '', provider = '']) {
      const body = await credentialsFrom(session);
      const path = { name, provider };
      session.record(
        await (await session.client()).put('/v1/workspaces/{name}/credentials/{provider}', { path, body }),
        {
          name: 'provider',
        },
      );
    },
  },
  {
    name: 'workspace credentials delete',
    summary: 'delete the credentials of a workspace for a cloud',
    examples: ['provisioning workspace credentials delete production hetzner --yes'],
    arguments: [WORKSPACE, PROVIDER],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/workspaces/{name}/credentials/{provider}'],
    async run(session, [name = '', provider = '']) {
      await session.confirm(`Delete the credentials of ${name} for ${provider}?`);
      await (await session.client()).delete('/v1/workspaces/{name}/credentials/{provider}', {
        path: { name, provider },
      });
      session.done(
        `Credentials of ${name} for ${provider} deleted.`,
        { workspace: name, provider, deleted: true },
        { name: 'provider' },
      );
    },
  },
  {
    name: 'secret list',
    summary: 'list the secrets of a workspace, without their values',
    examples: ['provisioning secret list --workspace production'],
    options: [IN_WORKSPACE],
    covers: ['GET /v1/workspaces/{name}/secrets'],
    async run(session, _arguments, options) {
      const path = { name: workspaceOf(options) };
      session.rows(await (await session.client()).get('/v1/workspaces/{name}/secrets', { path }), {
        columns: [field('key'), field('version'), field('updated_by', 'by'), field('updated_at', 'updated')],
        name: 'key',
      });
    },
  },
  {
    name: 'secret show',
    summary: 'show who set a secret and when, without its value',
    examples: ['provisioning secret show db_password --workspace production'],
    arguments: [SECRET_KEY],
    options: [IN_WORKSPACE],
    covers: ['GET /v1/workspaces/{name}/secrets/{key}'],
    async run(session, [key = ''], options) {
      const path = { name: workspaceOf(options), key };
      session.record(await (await session.client()).get('/v1/workspaces/{name}/secrets/{key}', { path }), {
        name: 'key',
      });
    },
  },
  {
    name: 'secret set',
    summary: 'store a secret in a workspace, or a new version of it',
    description:
      'The value is read from standard input, without its final line break, or unchanged from a file. Workflows refer to it as ${{ secrets.workspace.<key> }}, configs of services as {"$secret": "<key>"}.',
    examples: [
      'provisioning secret set db_password --workspace production < password.txt',
      'provisioning secret set tls_key --workspace production --from-file tls.key',
    ],
    arguments: [SECRET_KEY],
    options: [IN_WORKSPACE, { flags: '--from-file <path>', description: 'read the value from this file' }],
    covers: ['PUT /v1/workspaces/{name}/secrets/{key}'],
    async run(session, [key = ''], options) {
      const file = text(options, 'fromFile');
      const value =
        file === undefined ? (await session.terminal.readAll()).replace(/\r?\n$/, '') : await secretFrom(file);
      if (value === '')
        throw new UsageError('The secret is empty. Give its value on standard input or with --from-file.');
      const path = { name: workspaceOf(options), key };
      session.record(
        await (await session.client()).put('/v1/workspaces/{name}/secrets/{key}', { path, body: { value } }),
        { name: 'key' },
      );
    },
  },
  {
    name: 'secret delete',
    summary: 'delete a secret of a workspace',
    description:
      'Services that were installed with the secret keep its value. Workflows and schedules that refer to it fail from then on.',
    examples: ['provisioning secret delete db_password --workspace production --yes'],
    arguments: [SECRET_KEY],
    options: [IN_WORKSPACE, { flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/workspaces/{name}/secrets/{key}'],
    async run(session, [key = ''], options) {
      const name = workspaceOf(options);
      await session.confirm(`Delete secret ${key} of workspace ${name}?`);
      await (await session.client()).delete('/v1/workspaces/{name}/secrets/{key}', { path: { name, key } });
      session.done(
        `Secret ${key} of workspace ${name} deleted.`,
        { workspace: name, key, deleted: true },
        { name: 'key' },
      );
    },
  },
  {
    name: 'workspace ssh-key',
    summary: 'show the SSH public key of a workspace, or replace its key pair',
    examples: [
      'provisioning workspace ssh-key production',
      'provisioning workspace ssh-key production --set < ~/.ssh/id_ed25519',
    ],
    arguments: [WORKSPACE],
    options: [
      { flags: '--set', description: 'replace it with the private key on standard input' },
      { flags: '--force', description: 'replace it even if existing servers accept only the present key' },
    ],
    covers: ['GET /v1/workspaces/{name}/ssh-key', 'PUT /v1/workspaces/{name}/ssh-key'],
    async run(session, [name = ''], options) {
      const client = await session.client();
      const path = { name };
      const key =
        options.set === true
          ? await client.put('/v1/workspaces/{name}/ssh-key', { path, body: await keyFrom(session, options) })
          : await client.get('/v1/workspaces/{name}/ssh-key', { path });
      session.record(key, { name: 'public_key' });
    },
  },
];

async function keyFrom(session: Session, options: OptionValues) {
  return { private_key: await session.terminal.readAll(), force: options.force === true };
}

/** `user@address:port`, of which only the address must be. @throws UsageError */
function jumpOf(jump: string | undefined) {
  if (jump === undefined) return undefined;
  const [, user, address = '', port] = /^(?:([^@\s]+)@)?([^@\s]+?)(?::(\d+))?$/.exec(jump) ?? [];
  if (address === '') throw new UsageError(`--jump ${jump}: expected user@address:port, such as admin@192.0.2.1:22.`);
  return { address, ...given({ user, port: port === undefined ? undefined : Number(port) }) };
}

/** Machines that no provider made. */
export const existingServerCommands: readonly CommandDefinition[] = [
  {
    name: 'server import',
    summary: 'import an existing machine over SSH',
    description:
      'The machine must accept the SSH key of the workspace (see: provisioning workspace ssh-key). Deleting the server later only removes it from here: the machine is left alone.',
    examples: ['provisioning server import db-01 --address 192.0.2.7 --user admin'],
    arguments: [{ name: 'hostname', description: 'hostname to record' }],
    options: [
      {
        flags: '-w, --workspace <name>',
        names: 'workspace',
        description: 'workspace of the server',
        default: 'default',
      },
      { flags: '--address <ip>', description: 'address of the machine', required: true },
      { flags: '--user <name>', description: 'SSH user: root, or a user with sudo without a password' },
      { flags: '--port <number>', description: 'port of the SSH server' },
      { flags: '--jump <user@address:port>', description: 'connect through this machine' },
      { flags: '--tag <tag>', description: 'tag to filter by; can be repeated', repeatable: true },
      { flags: '--host-key <key>', description: 'public host key (default: the one at the first connection)' },
    ],
    covers: ['POST /v1/servers/import'],
    operation: true,
    async run(session, [hostname = ''], options) {
      const port = text(options, 'port');
      if (port !== undefined && !/^\d+$/.test(port)) throw new UsageError('--port must be a number.');
      const body = {
        workspace: text(options, 'workspace') ?? 'default',
        hostname,
        ip_address: text(options, 'address') ?? '',
        ssh: given({
          user: text(options, 'user'),
          port: port === undefined ? undefined : Number(port),
          host_key: text(options, 'hostKey'),
          jump: jumpOf(text(options, 'jump')),
        }),
        ...given({ tags: texts(options, 'tag') }),
      };
      await session.operation(
        await (await session.client()).post('/v1/servers/import', { body, ...session.idempotency() }),
      );
    },
  },
  {
    name: 'server forget-host-key',
    summary: 'forget the host key of a server and trust its next one',
    description:
      'Use it after you reinstalled the machine. If you did not reinstall it, first check that the address is right.',
    examples: ['provisioning server forget-host-key srv-3bj4tuexnfre --yes'],
    arguments: [{ name: 'id', description: 'id of the server' }],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/servers/{id}/host-key'],
    async run(session, [id = '']) {
      await session.confirm(`Trust the next host key that ${id} presents?`);
      await (await session.client()).delete('/v1/servers/{id}/host-key', { path: { id } });
      session.done(`Host key of ${id} forgotten.`, { id, forgotten: true }, { name: 'id' });
    },
  },
];
