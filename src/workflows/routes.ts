import { Type } from 'typebox';
import { errors } from '../errors.ts';
import { principalOf } from '../http/context.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { graphOf } from './graph-view.ts';
import { prepareWorkflow } from './prepare.ts';
import { TypeName, ValidateWorkflow, WorkflowGraph, WorkflowTypeSchema, WorkspaceQuery } from './schemas.ts';
import { getType, listTypes } from './types.ts';

const tags = ['Workflows'];

export function registerWorkflowRoutes(app: App, services: Services): void {
  app.post(
    '/v1/workflows/validate',
    {
      config: { access: 'workflow_submit' },
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
      return graphOf(await prepareWorkflow(services, principalOf(request), body));
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
