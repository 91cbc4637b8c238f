import { type Static, Type } from 'typebox';
import { type Principal, permittedWorkspaces } from '../access/permissions.ts';
import { errors } from '../errors.ts';
import { principalOf } from '../http/context.ts';
import { requestsOf } from '../http/rate-limit.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { LIMIT_NAMES, LIMITS, type LimitName } from '../limits/catalogue.ts';
import type { Used } from '../limits/limits.ts';
import { usageOf, WORKSPACE_LIMITS, type WorkspaceLimit, type WorkspaceUsage } from '../limits/workspace-room.ts';
import { countWebhooks } from '../webhooks/store.ts';
import { type WorkspaceFigures, workspaceFigures } from './limit-store.ts';

/** Workspaces that one answer tells of at most. */
const MAX_WORKSPACES = 100;
const nullable = (description: string) => Type.Union([Type.Number(), Type.Null()], { description });

const LimitSchema = Type.Object(
  {
    name: Type.String({ description: 'Name of the limit, as in `details.limit` of the error.' }),
    per: Type.String({ description: 'What the limit applies to: the user, a workspace, an operation, …' }),
    workspace: Type.Union([Type.String(), Type.Null()], { description: 'Null: not a limit of a workspace.' }),
    limit: nullable('Null: none.'),
    used: nullable('By the caller, or in the workspace. Null: it is counted for each thing by itself.'),
    counts: Type.String({ description: 'What is counted.' }),
  },
  { title: 'Limit', additionalProperties: false },
);
type Limit = Static<typeof LimitSchema>;

const Query = Type.Object(
  { workspace: Type.Optional(Type.String({ maxLength: 63, description: 'Only this workspace.' })) },
  { additionalProperties: false },
);

const SERVER_COUNTS: Record<WorkspaceLimit, string> = {
  servers: 'servers, those in the making and existing machines included',
  cpus: 'virtual processors of the servers',
  memory: 'GiB of memory of the servers',
  monthly_cost: 'monthly cost of the servers',
};

/** What may be used at most, and what is. */
export function registerLimitRoutes(app: App, services: Services): void {
  app.get(
    '/v1/limits',
    {
      config: { access: 'authenticated' },
      schema: {
        tags: ['System'],
        operationId: 'listLimits',
        summary: "List the caller's limits and their current use",
        description: `Includes the limits of each workspace that the caller may see, at most ${MAX_WORKSPACES} in alphabetical order.`,
        querystring: Query,
        response: { 200: Type.Array(LimitSchema), ...errorResponses(400, 401, 404) },
      },
    },
    async (request): Promise<Limit[]> => {
      const principal = principalOf(request);
      const { workspace } = request.query;
      const visible = permittedWorkspaces(principal, 'workspace_read');
      const wanted =
        workspace === undefined ? visible : [workspace].filter((name) => visible?.includes(name) !== false);
      const workspaces = await workspaceFigures(services.db, wanted, MAX_WORKSPACES);
      if (workspace !== undefined && workspaces.length === 0) throw errors.notFound('workspace', workspace);
      const used = await services.limits.used(
        principal.userId,
        workspaces.map(({ name }) => name),
      );
      const limits = await ofCaller(services, principal, used);
      for (const figures of workspaces) limits.push(...(await ofWorkspace(services, principal, figures, used)));
      return limits;
    },
  );
}

async function ofCaller(
  { config, db, limits }: Services,
  { userId }: Principal,
  { open, outputOfUser }: Used,
): Promise<Limit[]> {
  const { user_operations, user_workflows } = await limits.operations.used({ userId, workspace: '' });
  const used: Partial<Record<LimitName, number>> = {
    ...{ user_operations, user_workflows, webhooks: await countWebhooks(db), user_event_bytes: outputOfUser },
    ...Object.fromEntries(open),
  };
  const { rateLimit, addressRateLimit, bodyLimit } = config;
  const own = (name: string, per: string, limit: number, counts: string, count: number | null = null): Limit => ({
    ...{ name, per, workspace: null, limit: limit === 0 ? null : limit, used: limit === 0 ? null : count, counts },
  });
  return [
    own(
      'requests',
      'user',
      rateLimit,
      'requests a minute; a fifth of them may set off work',
      await requestsOf(limits.counts, userId),
    ),
    own('address_requests', 'address', addressRateLimit, 'requests a minute'),
    own('body', 'request', bodyLimit, 'bytes of a request body'),
    ...LIMIT_NAMES.filter((name) => LIMITS[name].per !== 'workspace').map((name) => {
      const { per, counts } = LIMITS[name];
      return own(name, per, limits.settings[name], counts, used[name] ?? null);
    }),
  ];
}

async function ofWorkspace(
  { db, limits }: Services,
  { userId }: Principal,
  figures: WorkspaceFigures,
  { outputOf }: Used,
): Promise<Limit[]> {
  const { name: workspace, servers, schedules, webhooks } = figures;
  const operations = await limits.operations.used({ userId, workspace });
  const used: Partial<Record<LimitName, number>> = {
    ...operations,
    ...{ workspace_schedules: schedules, workspace_webhooks: webhooks },
    workspace_event_bytes: outputOf.get(workspace) ?? 0,
  };
  const general = LIMIT_NAMES.filter((name) => LIMITS[name].per === 'workspace').map((name): Limit => {
    const { per, counts } = LIMITS[name];
    const limit = limits.settings[name] === 0 ? null : limits.settings[name];
    return { name, per, workspace, limit, used: used[name] ?? null, counts };
  });
  const sized = WORKSPACE_LIMITS.some((name) => name !== 'servers' && typeof figures.limits[name] === 'number');
  const usage = sized ? await usageOf(db, workspace) : null;
  const ofServers = WORKSPACE_LIMITS.map((name): Limit => {
    const count = name === 'servers' ? servers : (usage?.[name] ?? null);
    const limit = figures.limits[name] ?? null;
    const left = usage === null || name === 'servers' ? [] : leftOut(name, usage);
    const counts = [SERVER_COUNTS[name], ...left].join('; ');
    return { name, per: 'workspace', workspace, limit, used: count, counts };
  });
  return [...general, ...ofServers];
}

/** Which servers the sum leaves out. */
function leftOut(name: WorkspaceLimit, { unknown, unpriced }: WorkspaceUsage): string[] {
  return [
    ...(unknown === 0 ? [] : [`without ${unknown} whose size is not known yet`]),
    ...(unpriced === 0 || name !== 'monthly_cost' ? [] : [`without ${unpriced} whose provider tells no price`]),
  ];
}
