import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, texts } from '../command.ts';
import { NotFoundError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';
import { listCommand } from './list.ts';
import { ROLE_OPTION, roleBindings, rolesText } from './roles.ts';

const VIEW = {
  columns: [
    field('username'),
    { heading: 'ROLES', value: rolesText },
    field('disabled'),
    field('totp_enabled', 'totp'),
    field('created_at', 'created'),
  ],
  name: 'username',
};
const USERNAME = { name: 'username', description: 'name of the user', names: 'username' } as const;
const PASSWORD_STDIN = { flags: '--password-stdin', description: 'read the password from standard input' };

async function findUser(client: Client, username: string) {
  const [user] = await client.get('/v1/users', { query: { username } });
  if (user === undefined) throw new NotFoundError(`There is no user "${username}". See: provisioning user list`);
  return user;
}

async function newPassword({ terminal }: Session, username: string, options: OptionValues): Promise<string> {
  if (options.passwordStdin === true) return (await terminal.readAll()).replace(/\r?\n$/, '');
  return terminal.ask(`New password for ${username}: `, { hidden: true });
}

/** Users. */
export const userCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'user list',
    summary: 'show users and their roles',
    examples: ['provisioning user list'],
    path: '/v1/users',
    filters: { username: 'only with this name', disabled: 'true or false' },
    view: VIEW,
  }),
  {
    name: 'user show',
    summary: 'show one user',
    examples: ['provisioning user show dev.one'],
    arguments: [USERNAME],
    covers: ['GET /v1/users/{id}'],
    async run(session, [username = '']) {
      const client = await session.client();
      const { id } = await findUser(client, username);
      session.record(await client.get('/v1/users/{id}', { path: { id } }), VIEW);
    },
  },
  {
    name: 'user create',
    summary: 'make a user',
    examples: ['provisioning user create dev.one --role developer:staging --role viewer'],
    arguments: [USERNAME],
    options: [ROLE_OPTION, PASSWORD_STDIN],
    covers: ['POST /v1/users'],
    async run(session, [username = ''], options) {
      const roles = roleBindings(texts(options, 'role'));
      const password = await newPassword(session, username, options);
      const body = { username, password, ...given({ roles }) };
      session.record(await (await session.client()).post('/v1/users', { body }), VIEW);
    },
  },
  {
    name: 'user update',
    summary: 'change what a user may, or their password',
    description: 'A new password, or disabling the user, ends all their logins and API tokens.',
    examples: ['provisioning user update dev.one --role operator', 'provisioning user update dev.one --disable'],
    arguments: [USERNAME],
    options: [
      { ...ROLE_OPTION, description: `replaces all roles: ${ROLE_OPTION.description}` },
      { flags: '--disable', description: 'no longer let the user in' },
      { flags: '--enable', description: 'let the user in again' },
      { flags: '--password', description: 'ask for a new password' },
      PASSWORD_STDIN,
    ],
    covers: ['PATCH /v1/users/{id}'],
    async run(session, [username = ''], options) {
      const roles = roleBindings(texts(options, 'role'));
      const client = await session.client();
      const { id } = await findUser(client, username);
      const asks = options.password === true || options.passwordStdin === true;
      const body = given({
        roles,
        disabled: options.disable === true ? true : options.enable === true ? false : undefined,
        password: asks ? await newPassword(session, username, options) : undefined,
      });
      session.record(await client.patch('/v1/users/{id}', { path: { id }, body }), VIEW);
    },
  },
  {
    name: 'user reset-totp',
    summary: "take a user's second factor off, for one who has lost app and recovery codes",
    description: 'Their logins end.',
    examples: ['provisioning user reset-totp dev.one --yes'],
    arguments: [USERNAME],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/users/{id}/totp'],
    async run(session, [username = '']) {
      const client = await session.client();
      const { id } = await findUser(client, username);
      await session.confirm(`Take the second factor of ${username} off?`);
      await client.delete('/v1/users/{id}/totp', { path: { id } });
      session.done(`Logins of ${username} ask for the password alone.`, { username, totp_enabled: false }, VIEW);
    },
  },
  {
    name: 'user delete',
    summary: 'delete a user with all logins and tokens',
    examples: ['provisioning user delete dev.one --yes'],
    arguments: [USERNAME],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/users/{id}'],
    async run(session, [username = '']) {
      const client = await session.client();
      const { id } = await findUser(client, username);
      await session.confirm(`Delete the user ${username}?`);
      await client.delete('/v1/users/{id}', { path: { id } });
      session.done(`The user ${username} is deleted.`, { id, username, deleted: true }, VIEW);
    },
  },
];
