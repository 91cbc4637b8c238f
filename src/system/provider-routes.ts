import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { isPermitted } from '../access/permissions.ts';
import { errors } from '../errors.ts';
import { principalOf } from '../http/context.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { type Provider, ProviderError } from '../providers/contract.ts';
import type { ProviderRegistry } from '../providers/registry.ts';

const tags = ['Providers'];
/** A provider that takes longer counts as away: somebody waits for the answer. */
const ANSWER_MS = 15_000;

const params = Type.Object({ name: Type.String({ description: 'Name of an enabled provider.' }) });
const account = Type.Object(
  {
    workspace: Type.Optional(
      Type.String({ minLength: 1, maxLength: 63, description: 'Use the account of this workspace.' }),
    ),
  },
  { additionalProperties: false },
);
const ProviderSchema = Type.Object(
  {
    name: Type.String(),
    enabled: Type.Literal(true),
    account: Type.Optional(
      Type.Object(
        {
          state: Type.Union(
            [Type.Literal('ok'), Type.Literal('paused'), Type.Literal('unreachable'), Type.Literal('refused')],
            {
              description:
                '`paused`: the provider asked for fewer calls. `unreachable`: it does not answer. `refused`: it does not accept the credentials.',
            },
          ),
          reason: Type.Union([Type.String(), Type.Null()], { description: 'Why calls are paused.' }),
          retry_after: Type.Integer({ description: 'Seconds until a call goes out again.' }),
          waiting: Type.Integer({ description: 'Number of waiting calls.' }),
          throttled: Type.Integer({ description: 'How often the provider answered that there are too many calls.' }),
        },
        {
          additionalProperties: false,
          description: 'State of the calls to this provider, as seen by the replica that answers.',
        },
      ),
    ),
  },
  { title: 'Provider', additionalProperties: false },
);
const PlanSchema = Type.Object(
  {
    name: Type.String({ description: 'Value for `plan` of a new server.' }),
    cpus: Type.Number(),
    memory_mb: Type.Number({ description: 'Mebibytes.' }),
    storage_gb: Type.Union([Type.Number(), Type.Null()], { description: 'Gibibytes of the system disk.' }),
    native_name: Type.String({ description: "The provider's name of the plan." }),
    prices: Type.Optional(
      Type.Record(
        Type.String(),
        Type.Object({
          currency: Type.Union([Type.String(), Type.Null()], { description: "Null: the account's own currency." }),
          hourly: Type.Number(),
          monthly: Type.Number({ description: 'Maximum for a whole month.' }),
        }),
        { description: 'By zone, without taxes and traffic. Absent if the provider publishes no prices.' },
      ),
    ),
  },
  { title: 'Plan', additionalProperties: false },
);
const ZoneSchema = Type.Object(
  { name: Type.String({ description: 'What `zone` of a new server takes.' }), description: Type.String() },
  { title: 'Zone', additionalProperties: false },
);

/** What can be created where, live from the providers. */
export function registerProviderRoutes(app: App, { providers }: Services): void {
  app.get(
    '/v1/providers',
    {
      config: { access: 'provider_read' },
      schema: {
        operationId: 'listProviders',
        summary: 'List the enabled providers',
        description:
          "Those that every workspace can use; for a workspace also those at which it has an account of its own. Clouds come with how the account's calls stand.",
        tags,
        querystring: account,
        response: { 200: Type.Array(ProviderSchema), ...errorResponses(401, 403, 404) },
      },
    },
    async (request) => {
      const { workspace } = request.query;
      if (workspace === undefined) return providers.all().map(shown);
      requireVisible(request, workspace);
      return (await providers.usableBy(workspace)).map(shown);
    },
  );

  app.get(
    '/v1/providers/:name/plans',
    {
      config: { access: 'provider_read' },
      schema: {
        operationId: 'listPlans',
        summary: 'List the plans of a provider',
        tags,
        params,
        querystring: account,
        response: { 200: Type.Array(PlanSchema), ...errorResponses(401, 403, 404) },
      },
    },
    async (request) =>
      ask(await providerFor(providers, request, request.params.name, request.query.workspace), (provider, signal) =>
        provider.listPlans({ signal, patience: ANSWER_MS / 1_000 }),
      ),
  );

  app.get(
    '/v1/providers/:name/zones',
    {
      config: { access: 'provider_read' },
      schema: {
        operationId: 'listZones',
        summary: 'List the zones of a provider',
        tags,
        params,
        querystring: account,
        response: { 200: Type.Array(ZoneSchema), ...errorResponses(401, 403, 404) },
      },
    },
    async (request) =>
      ask(await providerFor(providers, request, request.params.name, request.query.workspace), (provider, signal) =>
        provider.listZones({ signal, patience: ANSWER_MS / 1_000 }),
      ),
  );
}

function shown(provider: Provider) {
  const { name } = provider;
  const enabled = true as const;
  if (provider.account === undefined) return { name, enabled };
  const { calls: _, ...state } = provider.account();
  return { name, enabled, account: state };
}

/** @throws 404 where the caller may not see the workspace. */
function requireVisible(request: FastifyRequest, workspace: string): void {
  if (!isPermitted(principalOf(request), 'workspace_read', workspace)) throw errors.hidden('workspace', workspace);
}

/** @throws 404 where it is not enabled, or the caller may not see the workspace whose account is asked for. */
async function providerFor(
  providers: ProviderRegistry,
  request: FastifyRequest,
  name: string,
  workspace: string | undefined,
): Promise<Provider> {
  if (workspace !== undefined) requireVisible(request, workspace);
  if (workspace === undefined || providers.cloud(name) === undefined) {
    if (!providers.has(name)) throw errors.notFound('provider', name);
    return providers.get(name);
  }
  try {
    return await providers.for(name, workspace);
  } catch (error) {
    throw error instanceof ProviderError ? errors.notFound('provider', name) : error;
  }
}

/** @throws 503 with the provider's own message where it cannot answer. */
async function ask<T>(
  provider: Provider,
  question: (provider: Provider, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  try {
    return await question(provider, signal);
  } catch (error) {
    if (error instanceof ProviderError) {
      throw errors.unavailable(`The provider "${provider.name}" did not answer: ${error.message}`, error.retryAfter);
    }
    if (signal.aborted)
      throw errors.unavailable(
        `The provider "${provider.name}" did not answer within ${ANSWER_MS / 1_000} s. Try again.`,
      );
    throw error;
  }
}
