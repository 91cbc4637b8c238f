import type { Schemas } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';
import { durationSeconds } from './parameters.ts';
import { ROLE_OPTION, roleBindings, rolesText } from './roles.ts';

export const TOKEN_VIEW = {
  columns: [
    field('id'),
    field('name'),
    field('user'),
    { heading: 'ROLES', value: rolesText },
    field('expires_at', 'expires'),
    field('last_used_at', 'last used'),
  ],
  name: 'id',
};

export const LIFETIME_OPTIONS = [
  { flags: '--expires-in <duration>', description: '30m, 12h, 30d (default: set by the server, 90d)' },
  { flags: '--never-expires', description: 'create a token that never expires, if the server allows it' },
];
export const PERMISSION_OPTION = {
  flags: '--permission <name>',
  description: 'limit the token to this permission, such as server_read; can be repeated',
  repeatable: true,
};

/** Seconds; null: it does not expire; undefined: as the server is set. @throws UsageError */
export function lifetime(options: OptionValues): number | null | undefined {
  const duration = text(options, 'expiresIn');
  if (options.neverExpires === true) {
    if (duration !== undefined) throw new UsageError('Give either --expires-in or --never-expires.');
    return null;
  }
  return duration === undefined ? undefined : durationSeconds('--expires-in', duration);
}

/** The server knows which there are. */
export function permissionsOf(options: OptionValues): Schemas['Caller']['permissions'] | undefined {
  return texts(options, 'permission') as Schemas['Caller']['permissions'] | undefined;
}

/** API tokens. */
export const tokenCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'token list',
    summary: 'list API tokens, without the tokens themselves',
    examples: ['provisioning token list'],
    path: '/v1/tokens',
    filters: { user: 'only tokens of this user', name: 'only with this name' },
    view: TOKEN_VIEW,
  }),
  {
    name: 'token create',
    summary: 'create an API token; it is shown only once',
    examples: [
      'provisioning token create ci --role developer:staging --expires-in 30d',
      'provisioning token create monitoring --workspace staging --permission server_read --permission workspace_read',
    ],
    arguments: [{ name: 'name', description: 'name that says what the token is for' }],
    options: [
      ROLE_OPTION,
      {
        flags: '-w, --workspace <name>',
        names: 'workspace',
        description: 'limit the token to this workspace; can be repeated',
        repeatable: true,
      },
      PERMISSION_OPTION,
      ...LIFETIME_OPTIONS,
    ],
    covers: ['POST /v1/tokens'],
    async run(session, [name = ''], options) {
      const body = {
        name,
        ...given({
          roles: roleBindings(texts(options, 'role')),
          workspaces: texts(options, 'workspace'),
          permissions: permissionsOf(options),
          expires_in: lifetime(options),
        }),
      };
      session.record(await (await session.client()).post('/v1/tokens', { body }), { name: 'token' });
    },
  },
  {
    name: 'token exchange',
    summary: "trade a job's token for one of a service account, which holds for minutes",
    description: `The token that your CI gave the job comes from standard input; no login is needed. Which are taken, and for which account,
administrators say (identity-provider update --exchange-file).`,
    examples: [
      'PROVISIONING_URL=https://provisioning.example provisioning token exchange -o name < job-token',
      'provisioning token exchange --service-account deploy@production < job-token',
    ],
    options: [{ flags: '--service-account <name@workspace>', description: 'which one, where several are possible' }],
    covers: ['POST /v1/auth/exchange'],
    async run(session, _args, options) {
      const body = {
        subject_token: (await session.terminal.readAll()).trim(),
        ...given({ service_account: text(options, 'serviceAccount') }),
      };
      const client = await session.client();
      session.record(await client.post('/v1/auth/exchange', { body }), { name: 'access_token' });
    },
  },
  {
    name: 'token delete',
    summary: 'revoke an API token',
    examples: ['provisioning token delete 0199c5a0-1111-7222-8333-444455556666'],
    arguments: [{ name: 'id', description: 'id of the token' }],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/tokens/{id}'],
    async run(session, [id = '']) {
      await session.confirm(`Revoke token ${id}?`);
      await (await session.client()).delete('/v1/tokens/{id}', { path: { id } });
      session.done(`Token ${id} revoked.`, { id, deleted: true }, TOKEN_VIEW);
    },
  },
];
