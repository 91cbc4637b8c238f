import type { CommandDefinition } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';

const VIEW = {
  columns: [
    field('id'),
    field('user'),
    field('address'),
    field('user_agent', 'client'),
    field('created_at', 'login'),
    field('last_used_at', 'last used'),
    field('expires_at', 'expires'),
  ],
  name: 'id',
};

/** Logins that have not ended. */
export const sessionCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'session list',
    summary: 'list your logins: from where, and when they end',
    examples: ['provisioning session list', "provisioning session list --user '*'"],
    path: '/v1/auth/sessions',
    filters: { user: 'of this user, * for everybody' },
    view: VIEW,
  }),
  {
    name: 'session end',
    summary: 'end one login at once',
    examples: ['provisioning session end 0199c5a0-1111-7222-8333-444455556666'],
    arguments: [{ name: 'id', description: 'id of the session' }],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/auth/sessions/{id}'],
    async run(session, [id = '']) {
      await session.confirm(`End session ${id}?`);
      await (await session.client()).delete('/v1/auth/sessions/{id}', { path: { id } });
      session.done(`Session ${id} ended.`, { id, ended: true }, VIEW);
    },
  },
];
