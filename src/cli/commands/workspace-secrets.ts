import { readFile } from 'node:fs/promises';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';

const WORKSPACE = { name: 'workspace', description: 'name of the workspace', names: 'workspace' } as const;
const PROVIDER = { name: 'provider', description: 'name of the provider', names: 'provider' } as const;
const SECRET_KEY = { name: 'key', description: 'what it is called: lower-case letters, digits and _' } as const;
const IN_WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'the workspace that keeps it',
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
  throw new UsageError(`Standard input is no JSON object with some of ${CREDENTIAL_FIELDS.join(', ')}.`);
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
    summary: 'show at which clouds a workspace has an account of its own',
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
    summary: 'give a workspace an account of its own at a cloud',
    description: `JSON on standard input, with some of ${CREDENTIAL_FIELDS.join(', ')}. They are tried at the cloud, kept encrypted and never shown.`,
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
    summary: 'forget the account of a workspace at a cloud',
    examples: ['provisioning workspace credentials delete production hetzner --yes'],
    arguments: [WORKSPACE, PROVIDER],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/workspaces/{name}/credentials/{provider}'],
    async run(session, [name = '', provider = '']) {
      await session.confirm(`Forget the account of ${name} at ${provider}?`);
      await (await session.client()).delete('/v1/workspaces/{name}/credentials/{provider}', {
        path: { name, provider },
      });
      session.done(
        `The account of ${name} at ${provider} is forgotten.`,
        { workspace: name, provider, deleted: true },
        { name: 'provider' },
      );
    },
  },
  {
    name: 'secret list',
    summary: 'list the secrets of a workspace, never their values',
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
    summary: 'show who set a secret and when, never its value',
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
    summary: 'keep a secret in a workspace, or its next version',
    description:
      'The value comes from standard input, without the line break at its end, or from a file as it is. Workflows refer to it as ${{ secrets.workspace.<key> }}, configs of services as {"$secret": "<key>"}.',
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
      if (value === '') throw new UsageError('The secret is empty.');
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
    description: 'Services that were given it keep it. Workflows and schedules that refer to it fail from then on.',
    examples: ['provisioning secret delete db_password --workspace production --yes'],
    arguments: [SECRET_KEY],
    options: [IN_WORKSPACE, { flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/workspaces/{name}/secrets/{key}'],
    async run(session, [key = ''], options) {
      const name = workspaceOf(options);
      await session.confirm(`Delete the secret ${key} of ${name}?`);
      await (await session.client()).delete('/v1/workspaces/{name}/secrets/{key}', { path: { name, key } });
      session.done(
        `The secret ${key} of ${name} is deleted.`,
        { workspace: name, key, deleted: true },
        { name: 'key' },
      );
    },
  },
  {
    name: 'workspace ssh-key',
    summary: 'show the public key that servers of a workspace let in, or take another pair',
    examples: [
      'provisioning workspace ssh-key production',
      'provisioning workspace ssh-key production --set < ~/.ssh/id_ed25519',
    ],
    arguments: [WORKSPACE],
    options: [
      { flags: '--set', description: 'read a private key from standard input' },
      { flags: '--force', description: 'also where servers let only the present key in' },
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
  if (address === '') throw new UsageError(`--jump ${jump}: it looks like admin@192.0.2.1:22.`);
  return { address, ...given({ user, port: port === undefined ? undefined : Number(port) }) };
}

/** Machines that no provider made. */
export const existingServerCommands: readonly CommandDefinition[] = [
  {
    name: 'server import',
    summary: 'take over a machine that exists, by SSH',
    description:
      'It lets the key of the workspace in (see: provisioning workspace ssh-key). Deleting it later forgets it and leaves it alone.',
    examples: ['provisioning server import db-01 --address 192.0.2.7 --user admin'],
    arguments: [{ name: 'hostname', description: 'what it is to be called' }],
    options: [
      {
        flags: '-w, --workspace <name>',
        names: 'workspace',
        description: 'the workspace it belongs to',
        default: 'default',
      },
      { flags: '--address <ip>', description: 'its address', required: true },
      { flags: '--user <name>', description: 'who logs in; root, or one who may use sudo without a password' },
      { flags: '--port <number>', description: 'of its SSH server' },
      { flags: '--jump <user@address:port>', description: 'go through this machine' },
      { flags: '--tag <tag>', description: 'a word to find it by; may be given several times', repeatable: true },
      { flags: '--host-key <key>', description: 'its public host key (default: the one it shows first)' },
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
    summary: 'trust the host key that a server shows next',
    description: 'For a machine that was set up anew. The address of one that was not should be looked at first.',
    examples: ['provisioning server forget-host-key srv-3bj4tuexnfre --yes'],
    arguments: [{ name: 'id', description: 'id of the server' }],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/servers/{id}/host-key'],
    async run(session, [id = '']) {
      await session.confirm(`Trust whatever answers as ${id} next?`);
      await (await session.client()).delete('/v1/servers/{id}/host-key', { path: { id } });
      session.done(`The host key of ${id} is forgotten.`, { id, forgotten: true }, { name: 'id' });
    },
  },
];
