import { type CommandDefinition, given, type OptionValues, text } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';

const VIEW = {
  columns: [field('workspace'), field('name'), field('used'), field('limit'), field('per'), field('counts')],
  name: 'name',
};
const NONE = 'none';

/** What may be used at most. */
export const limitCommands: readonly CommandDefinition[] = [
  {
    name: 'limits',
    summary: 'show your limits and their current use',
    examples: ['provisioning limits', 'provisioning limits --workspace production'],
    options: [{ flags: '-w, --workspace <name>', description: 'only this workspace', names: 'workspace' }],
    covers: ['GET /v1/limits'],
    async run(session, _args, options) {
      const query = given({ workspace: text(options, 'workspace') });
      session.rows(await (await session.client()).get('/v1/limits', { query }), VIEW);
    },
  },
  {
    name: 'workspace limit',
    summary: 'limit the number, size and cost of the servers of a workspace',
    description: `Limits that you leave out stay unchanged. "${NONE}" removes a limit.`,
    examples: [
      'provisioning workspace limit staging --servers 20 --monthly-cost 500',
      'provisioning workspace limit staging --cpus none',
    ],
    arguments: [{ name: 'name', description: 'name of the workspace', names: 'workspace' }],
    options: [
      { flags: '--servers <number>', description: 'number of servers' },
      { flags: '--cpus <number>', description: 'total number of processors' },
      { flags: '--memory <GiB>', description: 'total memory' },
      { flags: '--monthly-cost <amount>', description: 'total cost per month, in the currency of the providers' },
    ],
    covers: ['PATCH /v1/workspaces/{name}'],
    async run(session, [name = ''], options) {
      const limits = given({
        servers: amount(options, 'servers'),
        cpus: amount(options, 'cpus'),
        memory: amount(options, 'memory'),
        monthly_cost: amount(options, 'monthlyCost'),
      });
      if (Object.keys(limits).length === 0)
        throw new UsageError('Nothing to change. Give a limit, such as --servers 20.');
      const client = await session.client();
      session.record(await client.patch('/v1/workspaces/{name}', { path: { name }, body: { limits } }), {
        name: 'name',
      });
    },
  },
];

/** Null: no limit. @throws UsageError where it is no number. */
function amount(options: OptionValues, name: string): number | null | undefined {
  const given = text(options, name);
  if (given === undefined) return undefined;
  if (given === NONE) return null;
  const number = Number(given);
  if (given.trim() === '' || !Number.isFinite(number) || number < 0) {
    throw new UsageError(`"${given}" is not a valid limit. Give a number or "${NONE}".`);
  }
  return number;
}
