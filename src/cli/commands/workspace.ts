import { type CommandDefinition, given, text } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';

const VIEW = {
  columns: [field('name'), field('path'), field('active'), field('last_used', 'last used')],
  name: 'name',
};
const NAME = { name: 'name', description: 'name of the workspace', names: 'workspace' } as const;

/** Workspaces. */
export const workspaceCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'workspace list',
    summary: 'list workspaces',
    examples: ['provisioning workspace list'],
    path: '/v1/workspaces',
    filters: { name: 'only with this name' },
    view: VIEW,
  }),
  {
    name: 'workspace show',
    summary: 'show one workspace',
    examples: ['provisioning workspace show production'],
    arguments: [NAME],
    covers: ['GET /v1/workspaces/{name}'],
    async run(session, [name = '']) {
      session.record(await (await session.client()).get('/v1/workspaces/{name}', { path: { name } }), VIEW);
    },
  },
  {
    name: 'workspace create',
    summary: 'create a workspace',
    examples: ['provisioning workspace create production --activate'],
    arguments: [NAME],
    options: [
      { flags: '--path <directory>', description: 'directory on the server (default: below its first root)' },
      { flags: '--activate', description: 'make it the active workspace' },
    ],
    covers: ['POST /v1/workspaces/create'],
    async run(session, [name = ''], options) {
      const body = {
        name,
        ...given({ path: text(options, 'path'), activate: options.activate === true ? true : undefined }),
      };
      session.record(await (await session.client()).post('/v1/workspaces/create', { body }), VIEW);
    },
  },
  {
    name: 'workspace activate',
    summary: 'make a workspace the active one, for all users',
    examples: ['provisioning workspace activate production'],
    arguments: [NAME],
    covers: ['POST /v1/workspaces/{name}/activate'],
    async run(session, [name = '']) {
      session.record(await (await session.client()).post('/v1/workspaces/{name}/activate', { path: { name } }), VIEW);
    },
  },
  {
    name: 'workspace delete',
    summary: 'delete an empty workspace; its files are kept',
    examples: ['provisioning workspace delete old --yes'],
    arguments: [NAME],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/workspaces/{name}'],
    async run(session, [name = '']) {
      await session.confirm(`Delete workspace ${name}?`);
      await (await session.client()).delete('/v1/workspaces/{name}', { path: { name } });
      session.done(`Workspace ${name} deleted.`, { name, deleted: true }, VIEW);
    },
  },
];
