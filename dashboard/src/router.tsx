import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  type RouteComponent,
  redirect,
} from '@tanstack/react-router';
import { Empty, Failure, Loading } from './components/states.tsx';
import { LoginPage } from './pages/login.tsx';
import { OverviewPage } from './pages/overview.tsx';
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
  notFoundComponent: () => <Empty title="Page not found">Use the menu to find the page.</Empty>,
  errorComponent: ({ error }) => <Failure error={error} />,
});

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  component: LoginPage,
  validateSearch: (search): { from?: string; user?: string; changed?: true } => ({
    ...(typeof search.from === 'string' ? { from: search.from } : {}),
    ...(typeof search.user === 'string' ? { user: search.user } : {}),
    ...(search.changed === true ? { changed: true } : {}),
  }),
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

// Each page comes when it is gone to: the first load is what all of them need, and the overview.
const servers = () => import('./pages/servers.tsx');
const taskservs = () => import('./pages/taskservs.tsx');
const workflows = () => import('./pages/workflows.tsx');
const operations = () => import('./pages/operations.tsx');
const webhooks = () => import('./pages/webhooks.tsx');
const workspaces = () => import('./pages/workspaces.tsx');

const routeTree = root.addChildren([
  login,
  shell.addChildren([
    at('/', OverviewPage),
    at('/servers', lazyRouteComponent(servers, 'ServersPage')),
    at(
      '/servers/create',
      lazyRouteComponent(() => import('./pages/create-server.tsx'), 'CreateServerPage'),
    ),
    at(
      '/servers/import',
      lazyRouteComponent(() => import('./pages/import-server.tsx'), 'ImportServerPage'),
    ),
    at('/servers/$id', lazyRouteComponent(servers, 'ServerPage')),
    at('/taskservs', lazyRouteComponent(taskservs, 'TaskservsPage')),
    at('/taskservs/$id', lazyRouteComponent(taskservs, 'TaskservPage')),
    at(
      '/catalog',
      lazyRouteComponent(() => import('./pages/catalog.tsx'), 'CatalogPage'),
    ),
    at(
      '/catalog/$name',
      lazyRouteComponent(() => import('./pages/install-taskserv.tsx'), 'InstallTaskservPage'),
    ),
    at('/workflows', lazyRouteComponent(workflows, 'WorkflowsPage')),
    at(
      '/workflows/submit',
      lazyRouteComponent(() => import('./pages/submit-workflow.tsx'), 'SubmitWorkflowPage'),
    ),
    at(
      '/workflows/editor',
      lazyRouteComponent(() => import('./pages/workflow-editor.tsx'), 'WorkflowEditorPage'),
    ),
    at('/workflows/$id', lazyRouteComponent(workflows, 'WorkflowPage')),
    at(
      '/schedules',
      lazyRouteComponent(() => import('./pages/schedules.tsx'), 'SchedulesPage'),
    ),
    at('/operations', lazyRouteComponent(operations, 'OperationsPage')),
    at('/operations/$id', lazyRouteComponent(operations, 'OperationPage')),
    at('/workspaces', lazyRouteComponent(workspaces, 'WorkspacesPage')),
    at('/workspaces/$id', lazyRouteComponent(workspaces, 'WorkspacePage')),
    at(
      '/providers',
      lazyRouteComponent(() => import('./pages/providers.tsx'), 'ProvidersPage'),
    ),
    at('/webhooks', lazyRouteComponent(webhooks, 'WebhooksPage')),
    at('/webhooks/$id', lazyRouteComponent(webhooks, 'WebhookPage')),
    at(
      '/orphans',
      lazyRouteComponent(() => import('./pages/orphans.tsx'), 'OrphansPage'),
    ),
    at(
      '/users',
      lazyRouteComponent(() => import('./pages/users.tsx'), 'UsersPage'),
    ),
    at(
      '/tokens',
      lazyRouteComponent(() => import('./pages/tokens.tsx'), 'TokensPage'),
    ),
    at(
      '/account',
      lazyRouteComponent(() => import('./pages/account.tsx'), 'AccountPage'),
    ),
    at(
      '/audit',
      lazyRouteComponent(() => import('./pages/audit.tsx'), 'AuditPage'),
    ),
  ]),
]);

export const router = createRouter({ routeTree, defaultPendingComponent: Loading, defaultPreload: 'intent' });

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
