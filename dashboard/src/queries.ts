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

export const catalog = queryOptions({
  queryKey: ['catalog'],
  queryFn: ({ signal }) => client.get('/v1/catalog/taskservs', { signal }),
  staleTime: 60_000,
});

export const workflowById = (id: string) =>
  queryOptions({
    queryKey: ['/v1/workflows', id],
    queryFn: ({ signal }) => client.get('/v1/workflows/{id}', { path: { id }, signal }),
  });

export const stepsOf = (id: string) =>
  queryOptions({
    queryKey: ['/v1/workflows', id, 'steps'],
    queryFn: ({ signal }) => client.get('/v1/workflows/{id}/steps', { path: { id }, signal }),
  });

export const workflowTypesOf = (workspace: string) =>
  queryOptions({
    queryKey: ['workflow-types', workspace],
    queryFn: ({ signal }) => client.get('/v1/workflow-types', { query: { workspace }, signal }),
  });
