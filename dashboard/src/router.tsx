import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  type RouteComponent,
  redirect,
} from '@tanstack/react-router';
import { Empty, Failure, Loading } from './components/states.tsx';
import { AuditPage } from './pages/audit.tsx';
import { CatalogPage } from './pages/catalog.tsx';
import { LoginPage } from './pages/login.tsx';
import { OperationPage, OperationsPage } from './pages/operations.tsx';
import { OverviewPage } from './pages/overview.tsx';
import { ProvidersPage } from './pages/providers.tsx';
import { ServerPage, ServersPage } from './pages/servers.tsx';
import { TaskservPage, TaskservsPage } from './pages/taskservs.tsx';
import { TokensPage } from './pages/tokens.tsx';
import { UsersPage } from './pages/users.tsx';
import { WorkflowPage, WorkflowsPage } from './pages/workflows.tsx';
import { WorkspacesPage } from './pages/workspaces.tsx';
import { signedIn } from './session.ts';
import { Shell } from './shell.tsx';

/** Filters of a list, as they stand in the address: text or nothing. */
type Search = Record<string, string | undefined>;

function searchOf(search: Record<string, unknown>): Search {
  return Object.fromEntries(
    Object.entries(search).map(([name, value]) => [name, value === undefined ? undefined : String(value)]),
  );
}

const root = createRootRoute({
  notFoundComponent: () => <Empty title="There is no such page">It may have moved; the menu has all there are.</Empty>,
  errorComponent: ({ error }) => <Failure error={error} />,
});

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  component: LoginPage,
  validateSearch: (search): { from?: string } => (typeof search.from === 'string' ? { from: search.from } : {}),
});

const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  component: Shell,
  beforeLoad: ({ location }) => {
    if (!signedIn()) throw redirect({ to: '/login', search: { from: location.href } });
  },
});

const at = <P extends string>(path: P, component: RouteComponent) =>
  createRoute({ getParentRoute: () => shell, path, component, validateSearch: searchOf });

const routeTree = root.addChildren([
  login,
  shell.addChildren([
    at('/', OverviewPage),
    at('/servers', ServersPage),
    // Forms are needed by few and bring much.
    at(
      '/servers/create',
      lazyRouteComponent(() => import('./pages/create-server.tsx'), 'CreateServerPage'),
    ),
    at('/servers/$id', ServerPage),
    at('/taskservs', TaskservsPage),
    at('/taskservs/$id', TaskservPage),
    at('/catalog', CatalogPage),
    at(
      '/catalog/$name',
      lazyRouteComponent(() => import('./pages/install-taskserv.tsx'), 'InstallTaskservPage'),
    ),
    at('/workflows', WorkflowsPage),
    at(
      '/workflows/submit',
      lazyRouteComponent(() => import('./pages/submit-workflow.tsx'), 'SubmitWorkflowPage'),
    ),
    at('/workflows/$id', WorkflowPage),
    at('/operations', OperationsPage),
    at('/operations/$id', OperationPage),
    at('/workspaces', WorkspacesPage),
    at('/providers', ProvidersPage),
    at('/users', UsersPage),
    at('/tokens', TokensPage),
    at('/audit', AuditPage),
  ]),
]);

export const router = createRouter({ routeTree, defaultPendingComponent: Loading });

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
