import type { Client, Schemas } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, texts } from '../command.ts';
import { NotFoundError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';
import { listCommand } from './list.ts';
import { ROLE_OPTION, roleBindings, rolesText } from './roles.ts';
import { proofOf } from './totp.ts';

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
const OF_CODE = ' and, if your logins require one, a code';
const USERNAME = { name: 'username', description: 'name of the user', names: 'username' } as const;
const PASSWORD_STDIN = {
  flags: '--password-stdin',
  description: 'read the password from standard input; if needed, your own password and a code from the next lines',
};

async function findUser(client: Client, username: string) {
  const [user] = await client.get('/v1/users', { query: { username } });
  if (user === undefined) throw new NotFoundError(`There is no user "${username}". List users: provisioning user list`);
  return user;
}

/** @returns `lines`: what else standard input says, where that was to be read. */
async function newPassword({ terminal }: Session, username: string, options: OptionValues) {
  if (options.passwordStdin !== true)
    return { password: await terminal.ask(`New password for ${username}: `, { hidden: true }) };
  const [password = '', ...lines] = linesOf(await terminal.readAll());
  return { password, lines };
}

function linesOf(input: string): string[] {
  return input.replace(/\r?\n$/, '').split(/\r?\n/);
}

type Roles = readonly { role: string; workspace?: string | null }[];

/** Whether they are roles of somebody who may do everything. */
function administers(roles: Roles): boolean {
  return roles.some(({ role, workspace = null }) => role === 'admin' && workspace === null);
}

/** Whether the change makes the user an administrator of the installation. */
function promotes(
  user: Schemas['User'],
  { roles = user.roles, disabled = user.disabled }: { roles: Roles | undefined; disabled: boolean | undefined },
): boolean {
  return !disabled && administers(roles) && (user.disabled || !administers(user.roles));
}

/** Users. */
export const userCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'user list',
    summary: 'list users and their roles',
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
    summary: 'create a user',
    description: `To create an administrator of the installation, you also need your own password${OF_CODE}.`,
    examples: ['provisioning user create dev.one --role developer:staging --role viewer'],
    arguments: [USERNAME],
    options: [ROLE_OPTION, PASSWORD_STDIN],
    covers: ['POST /v1/users'],
    async run(session, [username = ''], options) {
      const roles = roleBindings(texts(options, 'role'));
      const client = await session.client();
      const { password, lines } = await newPassword(session, username, options);
      const proof = administers(roles ?? []) ? await proofOf(session, client, lines) : undefined;
      session.record(
        await client.post('/v1/users', { body: { username, password, ...given({ roles, proof }) } }),
        VIEW,
      );
    },
  },
  {
    name: 'user update',
    summary: 'change the roles or the password of a user',
    description: `A new password, or disabling the user, ends all their logins and API tokens. To set a password, or to make the user an
administrator of the installation, you also need your own password${OF_CODE}.`,
    examples: ['provisioning user update dev.one --role operator', 'provisioning user update dev.one --disable'],
    arguments: [USERNAME],
    options: [
      { ...ROLE_OPTION, description: `replaces all roles: ${ROLE_OPTION.description}` },
      { flags: '--disable', description: 'block the user from logging in' },
      { flags: '--enable', description: 'allow the user to log in again' },
      { flags: '--password', description: 'ask for a new password' },
      PASSWORD_STDIN,
    ],
    covers: ['PATCH /v1/users/{id}'],
    async run(session, [username = ''], options) {
      const roles = roleBindings(texts(options, 'role'));
      const client = await session.client();
      const user = await findUser(client, username);
      const { id } = user;
      const asks = options.password === true || options.passwordStdin === true;
      const disabled = options.disable === true ? true : options.enable === true ? false : undefined;
      const { password, lines } = asks ? await newPassword(session, username, options) : {};
      const proves = asks || promotes(user, { roles, disabled });
      const proof = proves ? await proofOf(session, client, lines) : undefined;
      const body = given({ roles, disabled, password, proof });
      session.record(await client.patch('/v1/users/{id}', { path: { id }, body }), VIEW);
    },
  },
  {
    name: 'user reset-totp',
    summary: 'remove the second factor of a user who has lost the app and the recovery codes',
    description: `This ends their logins. It needs your own password${OF_CODE}.`,
    examples: ['provisioning user reset-totp dev.one --yes'],
    arguments: [USERNAME],
    options: [
      { flags: '-y, --yes', description: 'do not ask for confirmation' },
      {
        flags: '--password-stdin',
        description: 'read your password and, from the next line, a code from standard input',
      },
    ],
    covers: ['POST /v1/users/{id}/totp/remove'],
    async run(session, [username = ''], options) {
      const client = await session.client();
      const { id } = await findUser(client, username);
      await session.confirm(`Remove the second factor of ${username}?`);
      const lines = options.passwordStdin === true ? linesOf(await session.terminal.readAll()) : undefined;
      const body = await proofOf(session, client, lines);
      await client.post('/v1/users/{id}/totp/remove', { path: { id }, body });
      session.done(
        `Second factor of ${username} removed. Logins need only the password.`,
        { username, totp_enabled: false },
        VIEW,
      );
    },
  },
  {
    name: 'user delete',
    summary: 'delete a user and all their logins and tokens',
    examples: ['provisioning user delete dev.one --yes'],
    arguments: [USERNAME],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/users/{id}'],
    async run(session, [username = '']) {
      const client = await session.client();
      const { id } = await findUser(client, username);
      await session.confirm(`Delete user ${username}?`);
      await client.delete('/v1/users/{id}', { path: { id } });
      session.done(`User ${username} deleted.`, { id, username, deleted: true }, VIEW);
    },
  },
];
