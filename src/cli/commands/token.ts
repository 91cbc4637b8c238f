import { type CommandDefinition, given, text, texts } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';
import { durationSeconds } from './parameters.ts';
import { ROLE_OPTION, roleBindings, rolesText } from './roles.ts';

const VIEW = {
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

/** API tokens. */
export const tokenCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'token list',
    summary: 'list API tokens, without the tokens themselves',
    examples: ['provisioning token list'],
    path: '/v1/tokens',
    filters: { user: 'only tokens of this user', name: 'only with this name' },
    view: VIEW,
  }),
  {
    name: 'token create',
    summary: 'create an API token; it is shown only once',
    examples: ['provisioning token create ci --role developer:staging --expires-in 90d'],
    arguments: [{ name: 'name', description: 'name that says what the token is for' }],
    options: [ROLE_OPTION, { flags: '--expires-in <duration>', description: '30m, 12h, 90d (default: never)' }],
    covers: ['POST /v1/tokens'],
    async run(session, [name = ''], options) {
      const duration = text(options, 'expiresIn');
      const body = {
        name,
        ...given({
          roles: roleBindings(texts(options, 'role')),
          expires_in: duration === undefined ? undefined : durationSeconds('--expires-in', duration),
        }),
      };
      session.record(await (await session.client()).post('/v1/tokens', { body }), { name: 'token' });
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
      session.done(`Token ${id} revoked.`, { id, deleted: true }, VIEW);
    },
  },
];
