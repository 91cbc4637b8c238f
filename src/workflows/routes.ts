import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../access/permissions.ts';
import { errors } from '../errors.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import type { Follower } from '../operations/follow.ts';
import { Operation } from '../operations/schemas.ts';
import { createOpenRequests } from '../operations/sse.ts';
import { costsOf } from './costs.ts';
import { graphOf } from './graph-view.ts';
import { prepareWorkflow } from './prepare.ts';
import {
  Approve,
  StepId,
  StepsQuery,
  SubmitWorkflow,
  TypeName,
  ValidateWorkflow,
  WORKFLOW_LIST,
  Workflow,
  WorkflowGraph,
  WorkflowId,
  WorkflowStep,
  WorkflowTypeSchema,
  WorkspaceQuery,
} from './schemas.ts';
import { approveStep, cancelWorkflow, getWorkflow, retryWorkflow, submitWorkflow } from './service.ts';
import { rollbackWorkflow } from './service-rollback.ts';
import { listNodes } from './store.ts';
import { getType, listTypes } from './types.ts';

const tags = ['Workflows'];

/** @param follower tells of changes of operations; not closed here. */
export function registerWorkflowRoutes(app: App, services: Services, follower: Follower): void {
  registerTypeRoutes(app, services);
  registerRunRoutes(app, services, follower);
  registerFurtherRoutes(app, services);
}

function registerRunRoutes(app: App, services: Services, follower: Follower): void {
  const { db, engine, mutate } = services;
  const openRequests = createOpenRequests();
  const waiting = { db, engine, follower, openRequests };
  app.addHook('preClose', async () => {
    openRequests.closeAll();
  });

  app.post(
    '/v1/workflows/submit',
    {
      config: { access: 'workflow_submit', expensive: true },
      schema: {
        tags,
        summary: 'Submit a workflow',
        body: SubmitWorkflow,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) => {
      const { body } = request;
      return mutate(request, reply, {
        prepare: () => prepareWorkflow(services, principalOf(request), body),
        work: (mutation, prepared) => submitWorkflow(services, mutation, body.workspace, prepared),
      });
    },
  );

  app.get(
    '/v1/workflows',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        summary: 'List workflows',
        querystring: listQuerySchema(WORKFLOW_LIST),
        response: { 200: Type.Array(Workflow), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'workflow_read');
      const scope = visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`];
      return sendList(db, WORKFLOW_LIST, request, reply, scope);
    },
  );

  app.get(
    '/v1/workflows/:id',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        summary: 'Get workflow details',
        params: WorkflowId,
        response: { 200: Workflow, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) =>
      sendJson(reply, (await getWorkflow(services, principalOf(request), request.params.id)).json),
  );

  app.get(
    '/v1/workflows/:id/steps',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        summary: 'List the nodes of a workflow with how they stand',
        params: WorkflowId,
        querystring: StepsQuery,
        response: { 200: Type.Array(WorkflowStep), ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { id } = await getWorkflow(services, principalOf(request), request.params.id);
      const { after = -1, limit = 20_000, brief = false, status, step } = request.query;
      const { json, last, full } = await listNodes(db, id, { after, limit, brief, status, step });
      if (full) {
        const next = new URL(request.url, 'http://localhost');
        next.searchParams.set('after', String(last));
        reply.header('link', `<${next.pathname}${next.search}>; rel="next"`);
      }
      return sendJson(reply, json);
    },
  );

  app.post(
    '/v1/workflows/:id/cancel',
    {
      config: { access: 'workflow_cancel' },
      schema: {
        tags,
        summary: 'Cancel a workflow',
        description:
          'Its running operations stop first. Waits up to 5 s for the end. Nothing is undone: ask for a rollback.',
        params: WorkflowId,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => cancelWorkflow(waiting, mutation, reply, request.params.id)),
  );
}

function registerFurtherRoutes(app: App, services: Services): void {
  const { mutate } = services;

  app.post(
    '/v1/workflows/:id/retry',
    {
      config: { access: 'workflow_submit', expensive: true },
      schema: {
        tags,
        summary: 'Run again what failed or never ran',
        description: 'A further run of the same snapshot, which takes over what completed.',
        params: WorkflowId,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => retryWorkflow(services, mutation, request.params.id)),
  );

  app.post(
    '/v1/workflows/:id/rollback',
    {
      config: { access: 'workflow_cancel', expensive: true },
      schema: {
        tags,
        summary: 'Undo what a workflow did',
        description: 'In reverse order, of one that has ended. The result says what was undone and what was not.',
        params: WorkflowId,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => rollbackWorkflow(services, mutation, request.params.id)),
  );

  app.post(
    '/v1/workflows/:id/steps/:step/approve',
    {
      config: { access: 'workflow_approve' },
      schema: {
        tags,
        summary: 'Approve or reject a node that waits for it',
        params: StepId,
        body: Type.Optional(Approve),
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) =>
        approveStep(services, mutation, request.params.id, request.params.step, request.body ?? {}),
      ),
  );
}

function registerTypeRoutes(app: App, services: Services): void {
  app.post(
    '/v1/workflows/validate',
    {
      config: { access: 'workflow_submit', checkMode: false },
      schema: {
        tags,
        summary: 'Check a workflow and resolve its graph',
        description: 'The same checks as a submit, of a type or of a definition in YAML. Starts nothing.',
        body: ValidateWorkflow,
        response: { 200: WorkflowGraph, ...errorResponses(400, 401, 403) },
      },
    },
    async (request) => {
      const { body } = request;
      if ((body.workflow_type === undefined) === (body.definition === undefined)) {
        throw errors.validation([{ field: 'workflow_type', message: 'give either workflow_type or definition' }]);
      }
      const prepared = await prepareWorkflow(services, principalOf(request), body);
      return { ...graphOf(prepared), ...(await costsOf(services, body.workspace, prepared.plan)) };
    },
  );

  app.get(
    '/v1/workflow-types',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        summary: 'List the types of workflows with their parameters',
        querystring: WorkspaceQuery,
        response: { 200: Type.Array(WorkflowTypeSchema), ...errorResponses(400, 401, 403) },
      },
    },
    async (request) => listTypes(services, principalOf(request), request.query.workspace),
  );

  app.get(
    '/v1/workflow-types/:name',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        summary: 'Get a type of workflow with its definition',
        params: TypeName,
        querystring: WorkspaceQuery,
        response: { 200: WorkflowTypeSchema, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request) => getType(services, principalOf(request), request.query.workspace, request.params.name),
  );
}
