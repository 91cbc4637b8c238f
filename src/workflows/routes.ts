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
import { approveStep, cancelWorkflow, getWorkflow } from './service.ts';
import { listNodes } from './store.ts';
import { getType, listTypes } from './types.ts';

const tags = ['Workflows'];

/** @param follower tells of changes of operations; not closed here. */
export function registerWorkflowRoutes(app: App, services: Services, follower: Follower): void {
  registerTypeRoutes(app, services);
  registerRunRoutes(app, services, follower);
  registerApprovalRoute(app, services);
}

function registerRunRoutes(app: App, services: Services, follower: Follower): void {
  const { db, engine, mutate } = services;
  const openRequests = createOpenRequests(services.limits);
  const waiting = { db, engine, follower, openRequests };
  app.addHook('preClose', async () => {
    openRequests.closeAll();
  });

  app.get(
    '/v1/workflows',
    {
      config: { access: 'workflow_read' },
      schema: {
        tags,
        operationId: 'listWorkflows',
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
        operationId: 'getWorkflow',
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
        operationId: 'listWorkflowSteps',
        summary: 'List the nodes of a workflow',
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
        operationId: 'cancelWorkflow',
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

function registerApprovalRoute(app: App, services: Services): void {
  const { mutate } = services;

  app.post(
    '/v1/workflows/:id/steps/:step/approve',
    {
      config: { access: 'workflow_approve' },
      schema: {
        tags,
        operationId: 'approveWorkflowStep',
        summary: 'Approve or reject a node that waits for approval',
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
        operationId: 'validateWorkflow',
        summary: 'Check a workflow and resolve its graph',
        description: 'Runs the same checks as a submit, on a type or on a definition in YAML. Starts nothing.',
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
        operationId: 'listWorkflowTypes',
        summary: 'List workflow types with their parameters',
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
        operationId: 'getWorkflowType',
        summary: 'Get a workflow type with its definition',
        params: TypeName,
        querystring: WorkspaceQuery,
        response: { 200: WorkflowTypeSchema, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request) => getType(services, principalOf(request), request.query.workspace, request.params.name),
  );
}
