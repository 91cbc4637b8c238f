import { Type } from 'typebox';
import { principalOf } from '../../http/context.ts';
import { errorResponses } from '../../http/schemas.ts';
import type { App, Services } from '../../http/section.ts';
import { TaskservId } from '../schemas.ts';
import { DEFAULT_HOURS, MAX_HOURS, makeKubeconfig } from './service.ts';

const Kubeconfig = Type.Object(
  {
    taskserv_id: Type.String(),
    user: Type.String({ examples: ['provisioning:alice'], description: 'User name of the caller in the cluster.' }),
    expires_at: Type.String({ format: 'date-time' }),
    kubeconfig: Type.String({ description: 'The file for kubectl. It contains a private key.' }),
  },
  { title: 'Kubeconfig' },
);

export function registerKubeconfigRoutes(app: App, services: Services): void {
  app.get(
    '/v1/taskservs/:id/kubeconfig',
    {
      config: { access: 'taskserv_kubeconfig', expensive: true },
      schema: {
        tags: ['Taskservs'],
        operationId: 'getKubeconfig',
        summary: 'Get a kubeconfig for a Kubernetes cluster',
        description:
          "A control plane makes a certificate for the caller alone, with all rights in the cluster's API. It is kept nowhere, stands in the audit log, and cannot be taken back before it expires.",
        params: TaskservId,
        querystring: Type.Object(
          {
            hours: Type.Optional(
              Type.Integer({
                ...{ minimum: 1, maximum: MAX_HOURS, default: DEFAULT_HOURS },
                description: 'Validity of the certificate, in hours.',
              }),
            ),
          },
          { additionalProperties: false },
        ),
        response: { 200: Kubeconfig, ...errorResponses(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store');
      const { params, query } = request;
      return makeKubeconfig(services, principalOf(request), request, params.id, query.hours ?? DEFAULT_HOURS);
    },
  );
}
