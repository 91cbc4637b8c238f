import { sql } from 'kysely';
import { Type } from 'typebox';
import { authorityOf } from '../../access/authority.ts';
import { isPermitted, permittedWorkspaces, requirePermission } from '../../access/permissions.ts';
import { isUniqueViolation } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { errors } from '../../errors.ts';
import { requestBudget } from '../../evaluation/pool.ts';
import { principalOf, sendJson } from '../../http/context.ts';
import { createdFilters } from '../../http/created-filters.ts';
import { filter, type ListDefinition, listQuerySchema, sendList } from '../../http/list.ts';
import { errorResponses } from '../../http/schemas.ts';
import type { App, Services } from '../../http/section.ts';
import { isUuid } from '../../operations/schemas.ts';
import { firstTime } from '../evaluation.ts';
import { prepareWorkflow } from '../prepare.ts';
import { SubmitWorkflow } from '../schemas.ts';
import { referencedIn } from '../secrets/given.ts';
import { requireRecurring } from './cron.ts';
import {
  countSchedules,
  deleteScheduleRow,
  findSchedule,
  insertSchedule,
  SCHEDULE_JSON,
  sealScheduleSecrets,
} from './store.ts';

const tags = ['Schedules'];
const closed = { additionalProperties: false } as const;
const time = Type.String({ format: 'date-time' });
const nullableText = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const Overlap = Type.Enum(['skip', 'allow'], {
  default: 'skip',
  description: 'If the previous workflow has not ended: skip this time, or start another one.',
});
const Missed = Type.Enum(['skip', 'run_once'], {
  default: 'run_once',
  description: 'If no server was running at scheduled times: start nothing, or one workflow.',
});

const fields = {
  name: Type.String({
    pattern: '^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$',
    description: 'At most 63 lower-case letters, digits and _ -, a letter or digit first and last.',
    examples: ['nightly'],
  }),
  ...SubmitWorkflow.properties,
  cron: Type.String({
    minLength: 1,
    maxLength: 200,
    description: 'Minute, hour, day, month, day of week; six fields begin with seconds.',
    examples: ['0 3 * * *'],
  }),
};
const CreateSchedule = Type.Object(
  {
    ...fields,
    timezone: Type.Optional(Type.String({ minLength: 1, maxLength: 64, default: 'UTC', examples: ['Europe/Berlin'] })),
    overlap: Type.Optional(Overlap),
    missed: Type.Optional(Missed),
  },
  closed,
);
const Schedule = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    ...fields,
    timezone: Type.String(),
    overlap: Overlap,
    missed: Missed,
    next_run_at: time,
    last_run_at: Type.Union([time, Type.Null()]),
    last_workflow_id: nullableText('The workflow that it started last.'),
    last_error: nullableText('Why its last time started nothing; null where it did.'),
    state: Type.Enum(['active', 'authority_ended'], {
      description:
        'authority_ended: at its last time whoever made it, or the API token that they made it with, might no longer do it.',
    }),
    created_by: Type.String(),
    created_at: time,
  },
  { title: 'Schedule' },
);
const ScheduleId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 63 }) }, closed);
const text = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]+$' });

const SCHEDULE_LIST: ListDefinition = {
  table: 'provisioning.schedules',
  json: SCHEDULE_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    workspace: filter<string>(text(63), (value) => sql`workspace = ${value}`),
    workflow_type: filter<string>(text(63), (value) => sql`workflow_type = ${value}`),
    name: filter<string>(text(63), (value) => sql`name = ${value}`),
    ...createdFilters(),
  },
  sorts: { created_at: { column: 'created_at', type: 'timestamptz' } },
  defaultSort: 'created_at',
};

/** Workflows by the clock. */
export function registerScheduleRoutes(app: App, services: Services): void {
  const { db, limits, mutate } = services;

  app.post(
    '/v1/schedules',
    {
      config: { access: 'workflow_submit' },
      schema: {
        tags,
        operationId: 'createSchedule',
        summary: 'Create a schedule',
        description:
          'Checked as a submit is. It acts for the caller, with those of their present roles that they still have then.',
        body: CreateSchedule,
        response: { 200: Schedule, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const { name, workspace, workflow_type, cron, timezone = 'UTC', overlap = 'skip', missed = 'run_once' } = body;
      const principal = principalOf(request);
      requireRecurring(cron);
      return mutate(request, reply, {
        async prepare() {
          const budget = requestBudget(principal.userId);
          const question = { cron, timezone, after: new Date().toISOString() };
          const next = await firstTime(question, limits.settings.schedule_interval, budget);
          const { parameters, given } = await prepareWorkflow(services, principal, body, budget);
          return { next, parameters, given };
        },
        work: async ({ tx, audit }, { next, parameters, given }) => {
          const id = uuidv7();
          await limits.requireCount(tx, 'workspace_schedules', workspace, (locked) =>
            countSchedules(locked, workspace),
          );
          try {
            const json = await insertSchedule(tx, {
              id,
              name,
              workspace,
              workflow_type,
              parameters,
              secrets: sealScheduleSecrets(services.encryption, id, referencedIn(parameters, given)),
              cron,
              timezone,
              overlap: overlap as 'skip' | 'allow',
              missed: missed as 'skip' | 'run_once',
              authority: authorityOf(principal),
              next_run_at: next,
            });
            audit({
              action: 'schedule.create',
              workspace,
              resource: `schedule:${id}`,
              details: { name, workflow_type, cron },
            });
            return { body: json, location: `/v1/schedules/${id}` };
          } catch (error) {
            if (!isUniqueViolation(error, 'schedules_workspace_name_key')) throw error;
            throw errors.conflict(`Schedule "${name}" already exists in workspace "${workspace}".`, {
              field: 'name',
            });
          }
        },
      });
    },
  );

  app.get(
    '/v1/schedules',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        operationId: 'listSchedules',
        summary: 'List schedules',
        querystring: listQuerySchema(SCHEDULE_LIST),
        response: { 200: Type.Array(Schedule), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'workflow_read');
      return sendList(
        db,
        SCHEDULE_LIST,
        request,
        reply,
        visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`],
      );
    },
  );

  app.get(
    '/v1/schedules/:id',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        operationId: 'getSchedule',
        summary: 'Get a schedule',
        params: ScheduleId,
        response: { 200: Schedule, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const schedule = isUuid(id) ? await findSchedule(db, id) : null;
      if (schedule === null) throw errors.notFound('schedule', id);
      if (!isPermitted(principalOf(request), 'workflow_read', schedule.workspace)) throw errors.hidden('schedule', id);
      return sendJson(reply, schedule.json);
    },
  );

  app.delete(
    '/v1/schedules/:id',
    {
      config: { access: 'workflow_cancel' },
      schema: {
        tags,
        operationId: 'deleteSchedule',
        summary: 'Delete a schedule',
        description: 'Workflows that it has started continue.',
        params: ScheduleId,
        response: { 200: Schedule, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, async ({ tx, principal, audit }) => {
        const { id } = request.params;
        const schedule = isUuid(id) ? await findSchedule(tx, id) : null;
        if (schedule === null) throw errors.notFound('schedule', id);
        const { workspace, ownerId, json, name } = schedule;
        requirePermission(principal, 'workflow_cancel', {
          what: 'schedule',
          id,
          workspace,
          ownerId,
          read: 'workflow_read',
        });
        await deleteScheduleRow(tx, id);
        audit({ action: 'schedule.delete', workspace, resource: `schedule:${id}`, details: { name } });
        return { body: json };
      }),
  );
}
