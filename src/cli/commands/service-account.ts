import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { ROLES } from './roles.ts';
import { LIFETIME_OPTIONS, lifetime, PERMISSION_OPTION, permissionsOf, TOKEN_VIEW } from './token.ts';

const NAME = { name: 'name', description: 'name of the service account' } as const;
const IN_WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'workspace that owns it',
  default: 'default',
} as const;
const ROLE_OPTION = {
  flags: '--role <role>',
  description: `${ROLES.join(', ')}, in its workspace; can be repeated`,
  repeatable: true,
};
const VIEW = {
  columns: [
    field('name'),
    field('username'),
    { heading: 'ROLES', value: ({ roles }: { roles: string[] }) => roles.join(',') },
    field('disabled'),
    field('created_by', 'by'),
    field('created_at', 'created'),
  ],
  name: 'name',
};

const pathOf = (options: OptionValues, account = '') => ({ name: text(options, 'workspace') ?? 'default', account });

/** @throws UsageError */
function rolesOf(options: OptionValues) {
  return texts(options, 'role')?.map((given) => {
    const role = ROLES.find((known) => known === given);
    if (role === undefined) throw new UsageError(`--role ${given}: expected one of ${ROLES.join(', ')}.`);
    return role;
  });
}

/** Users that are no persons. */
export const serviceAccountCommands: readonly CommandDefinition[] = [
  {
    name: 'service-account list',
    summary: 'list the service accounts of a workspace',
    examples: ['provisioning service-account list --workspace production'],
    options: [IN_WORKSPACE],
    covers: ['GET /v1/workspaces/{name}/service-accounts'],
    async run(session, _args, options) {
      const { name } = pathOf(options);
      const client = await session.client();
      session.rows(await client.get('/v1/workspaces/{name}/service-accounts', { path: { name } }), VIEW);
    },
  },
  {
    name: 'service-account show',
    summary: 'show one service account',
    examples: ['provisioning service-account show deploy --workspace production'],
    arguments: [NAME],
    options: [IN_WORKSPACE],
    covers: ['GET /v1/workspaces/{name}/service-accounts/{account}'],
    async run(session, [account], options) {
      const path = pathOf(options, account);
      const client = await session.client();
      session.record(await client.get('/v1/workspaces/{name}/service-accounts/{account}', { path }), VIEW);
    },
  },
  {
    name: 'service-account create',
    summary: 'create an account for programs, owned by a workspace',
    description: 'It has no password and cannot log in. Create API tokens for it (service-account token create).',
    examples: ['provisioning service-account create deploy --workspace production --role developer'],
    arguments: [NAME],
    options: [IN_WORKSPACE, { ...ROLE_OPTION, required: true }],
    covers: ['POST /v1/workspaces/{name}/service-accounts'],
    async run(session, [account = ''], options) {
      const { name } = pathOf(options);
      const body = { name: account, roles: rolesOf(options) ?? [] };
      const client = await session.client();
      session.record(await client.post('/v1/workspaces/{name}/service-accounts', { path: { name }, body }), VIEW);
    },
  },
  {
    name: 'service-account update',
    summary: 'change the roles of a service account, or disable it',
    examples: ['provisioning service-account update deploy --workspace production --disable'],
    arguments: [NAME],
    options: [
      IN_WORKSPACE,
      { ...ROLE_OPTION, description: `replaces all roles: ${ROLE_OPTION.description}` },
      { flags: '--disable', description: 'reject its tokens' },
      { flags: '--enable', description: 'accept its tokens again' },
    ],
    covers: ['PATCH /v1/workspaces/{name}/service-accounts/{account}'],
    async run(session, [account], options) {
      const path = pathOf(options, account);
      const body = given({
        roles: rolesOf(options),
        disabled: options.disable === true ? true : options.enable === true ? false : undefined,
      });
      const client = await session.client();
      session.record(await client.patch('/v1/workspaces/{name}/service-accounts/{account}', { path, body }), VIEW);
    },
  },
  {
    name: 'service-account delete',
    summary: 'delete a service account and all its tokens',
    examples: ['provisioning service-account delete deploy --workspace production --yes'],
    arguments: [NAME],
    options: [IN_WORKSPACE, { flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/workspaces/{name}/service-accounts/{account}'],
    async run(session, [account], options) {
      const path = pathOf(options, account);
      await session.confirm(`Delete service account ${path.account} of workspace ${path.name}?`);
      const client = await session.client();
      await client.delete('/v1/workspaces/{name}/service-accounts/{account}', { path });
      session.done(`Service account ${path.account} deleted.`, { ...path, deleted: true }, VIEW);
    },
  },
  {
    name: 'service-account token list',
    summary: 'list the API tokens of a service account, without the tokens themselves',
    examples: ['provisioning service-account token list deploy --workspace production'],
    arguments: [NAME],
    options: [IN_WORKSPACE],
    covers: ['GET /v1/workspaces/{name}/service-accounts/{account}/tokens'],
    async run(session, [account], options) {
      const path = pathOf(options, account);
      const client = await session.client();
      session.rows(await client.get('/v1/workspaces/{name}/service-accounts/{account}/tokens', { path }), TOKEN_VIEW);
    },
  },
  {
    name: 'service-account token create',
    summary: 'create an API token for a service account; it is shown only once',
    description: 'Revoke it with "provisioning token delete".',
    examples: ['provisioning service-account token create deploy pipeline --workspace production --expires-in 30d'],
    arguments: [NAME, { name: 'token', description: 'name that says what the token is for' }],
    options: [IN_WORKSPACE, PERMISSION_OPTION, ...LIFETIME_OPTIONS],
    covers: ['POST /v1/workspaces/{name}/service-accounts/{account}/tokens'],
    async run(session, [account, name = ''], options) {
      const path = pathOf(options, account);
      const body = { name, ...given({ permissions: permissionsOf(options), expires_in: lifetime(options) }) };
      const client = await session.client();
      session.record(await client.post('/v1/workspaces/{name}/service-accounts/{account}/tokens', { path, body }), {
        name: 'token',
      });
    },
  },
];
