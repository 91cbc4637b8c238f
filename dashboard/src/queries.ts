import { QueryCache, QueryClient, queryOptions } from '@tanstack/react-query';
import { ApiError } from '../../src/sdk/client.ts';
import { client, isSignedOut } from './session.ts';

/** Called when the server no longer knows us. */
let onSignedOut: () => void = () => {};
export function whenSignedOut(callback: () => void): void {
  onSignedOut = callback;
}

export const queryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error) => {
      if (isSignedOut(error)) onSignedOut();
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // The client has tried often enough by itself; what the server refuses is not asked again.
      retry: (count, error) => !(error instanceof ApiError) && count < 2,
    },
  },
});

/** Who is signed in, and what they may. */
export const me = queryOptions({
  queryKey: ['me'],
  queryFn: ({ signal }) => client.get('/v1/auth/me', { signal }),
  staleTime: 60_000,
});

/** Whether signing in asks for a code. */
export const totpState = queryOptions({
  queryKey: ['totp'],
  queryFn: ({ signal }) => client.get('/v1/auth/totp', { signal }),
});

export const providers = queryOptions({
  queryKey: ['providers'],
  queryFn: ({ signal }) => client.get('/v1/providers', { signal }),
  staleTime: 60_000,
});

export const workspaces = queryOptions({
  queryKey: ['/v1/workspaces'],
  queryFn: ({ signal }) => client.get('/v1/workspaces', { signal }),
});

export const plansOf = (name: string) =>
  queryOptions({
    queryKey: ['plans', name],
    queryFn: ({ signal }) => client.get('/v1/providers/{name}/plans', { path: { name }, signal }),
    enabled: name !== '',
    staleTime: 60_000,
  });

export const zonesOf = (name: string) =>
  queryOptions({
    queryKey: ['zones', name],
    queryFn: ({ signal }) => client.get('/v1/providers/{name}/zones', { path: { name }, signal }),
    enabled: name !== '',
    staleTime: 60_000,
  });

export const serverById = (id: string) =>
  queryOptions({
    queryKey: ['/v1/servers', id],
    queryFn: ({ signal }) => client.get('/v1/servers/{id}', { path: { id }, signal }),
  });

export const operationById = (id: string) =>
  queryOptions({
    queryKey: ['/v1/operations', id],
    queryFn: ({ signal }) => client.get('/v1/operations/{id}', { path: { id }, signal }),
  });

export const taskservById = (id: string) =>
  queryOptions({
    queryKey: ['/v1/taskservs', id],
    queryFn: ({ signal }) => client.get('/v1/taskservs/{id}', { path: { id }, signal }),
  });

/** What can be installed, with the definitions of a workspace where one is named. */
export const catalogOf = (workspace = '') =>
  queryOptions({
    queryKey: ['catalog', workspace],
    queryFn: ({ signal }) =>
      client.get('/v1/catalog/taskservs', { query: workspace === '' ? {} : { workspace }, signal }),
    staleTime: 60_000,
  });

/** The first servers of a workspace, to choose from. */
export const serversOf = (workspace: string) =>
  queryOptions({
    queryKey: ['/v1/servers', 'of', workspace],
    queryFn: ({ signal }) =>
      client.page('/v1/servers', { filters: { workspace, sort: 'hostname' }, perPage: 1_000, signal }),
    enabled: workspace !== '',
  });

/** The workspace that is meant where none is named. */
export function activeWorkspaceOf(known: readonly { name: string; active: boolean }[] | undefined): string | undefined {
  return known?.find(({ active }) => active)?.name ?? known?.[0]?.name;
}

export const workspaceByName = (name: string) =>
  queryOptions({
    queryKey: ['/v1/workspaces', name],
    queryFn: ({ signal }) => client.get('/v1/workspaces/{name}', { path: { name }, signal }),
  });

export const sshKeyOf = (name: string) =>
  queryOptions({
    queryKey: ['/v1/workspaces', name, 'ssh-key'],
    queryFn: ({ signal }) => client.get('/v1/workspaces/{name}/ssh-key', { path: { name }, signal }),
  });

export const credentialsOf = (name: string) =>
  queryOptions({
    queryKey: ['/v1/workspaces', name, 'credentials'],
    queryFn: ({ signal }) => client.get('/v1/workspaces/{name}/credentials', { path: { name }, signal }),
  });

export const secretsOf = (name: string) =>
  queryOptions({
    queryKey: ['/v1/workspaces', name, 'secrets'],
    queryFn: ({ signal }) => client.get('/v1/workspaces/{name}/secrets', { path: { name }, signal }),
  });

export const limitsOf = (workspace: string) =>
  queryOptions({
    queryKey: ['/v1/limits', workspace],
    queryFn: ({ signal }) => client.get('/v1/limits', { query: { workspace }, signal }),
  });

export const workflowById = (id: string) =>
  queryOptions({
    queryKey: ['/v1/workflows', id],
    queryFn: ({ signal }) => client.get('/v1/workflows/{id}', { path: { id }, signal }),
  });

/** Every node of a run as it stands, without what it is called with and what it answered. */
export const stepsOf = (id: string) =>
  queryOptions({
    queryKey: ['/v1/workflows', id, 'steps'],
    queryFn: ({ signal }) => client.get('/v1/workflows/{id}/steps', { path: { id }, query: { brief: true }, signal }),
  });

/** One node of a run in full, by its place among them. */
export const stepOf = (id: string, index: number) =>
  queryOptions({
    queryKey: ['/v1/workflows', id, 'step', index],
    queryFn: async ({ signal }) => {
      const query = { after: index - 1, limit: 1 };
      const [step] = await client.get('/v1/workflows/{id}/steps', { path: { id }, query, signal });
      if (step === undefined) throw new Error(`The workflow has no step at place ${index}.`);
      return step;
    },
  });

export const workflowTypesOf = (workspace: string) =>
  queryOptions({
    queryKey: ['workflow-types', workspace],
    queryFn: ({ signal }) => client.get('/v1/workflow-types', { query: { workspace }, signal }),
    enabled: workspace !== '',
  });

/** One type, with its definition. */
export const workflowTypeOf = (workspace: string, name: string) =>
  queryOptions({
    queryKey: ['workflow-types', workspace, name],
    queryFn: ({ signal }) => client.get('/v1/workflow-types/{name}', { path: { name }, query: { workspace }, signal }),
    enabled: workspace !== '' && name !== '',
  });

export const webhookById = (id: string) =>
  queryOptions({
    queryKey: ['/v1/webhooks', id],
    queryFn: ({ signal }) => client.get('/v1/webhooks/{id}', { path: { id }, signal }),
  });
