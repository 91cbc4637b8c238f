/** Every page of the dashboard, for tests that walk through all. */
import { expectOk, makeServer } from '../support/acceptance.ts';
import { type Client, ended, type Operation } from '../support/server.ts';

/** Makes one of each thing that has a page, and answers the pages: their addresses and their headings. */
export async function everyPage(admin: Client): Promise<{ to: string; heading: string }[]> {
  const { server, operation } = await makeServer(admin, 'shown');
  const install = { workspace: 'default', name: 'redis', servers: ['shown'] };
  const installed = expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', install));
  const taskserv = String((await ended(admin, installed.id)).result?.taskserv_id);
  const submit = {
    workspace: 'default',
    workflow_type: 'cluster_create',
    parameters: { cluster_name: 'shown', node_count: 2 },
  };
  const run = expectOk(await admin.request<Operation>('POST', '/v1/workflows/submit', submit));
  await ended(admin, run.id);
  await admin.request('POST', '/v1/tokens', { name: 'shown' });
  await admin.request('POST', '/v1/schedules', { ...submit, name: 'shown', cron: '0 3 * * *' });
  const hook = { url: 'https://hooks.example/provisioning', events: ['operation.failed'] };
  const webhook = expectOk(await admin.request<{ id: string }>('POST', '/v1/webhooks', hook));
  return [
    { to: '/', heading: 'Overview' },
    { to: '/servers', heading: 'Servers' },
    { to: `/servers/${server.id}`, heading: 'shown' },
    { to: '/servers/create', heading: 'Create a server' },
    { to: '/servers/import', heading: 'Import existing server' },
    { to: '/taskservs', heading: 'Services' },
    { to: `/taskservs/${taskserv}`, heading: 'redis' },
    { to: '/catalog', heading: 'Catalog' },
    { to: '/catalog/redis', heading: 'Install redis' },
    { to: '/providers', heading: 'Providers' },
    { to: '/workflows', heading: 'Workflows' },
    { to: `/workflows/${run.id}?step=base`, heading: 'cluster_create' },
    { to: `/workflows/${run.id}?as=list`, heading: 'cluster_create' },
    { to: '/workflows/submit?type=cluster_create', heading: 'Run a workflow' },
    { to: '/workflows/editor', heading: 'Write a definition' },
    { to: '/schedules', heading: 'Schedules' },
    { to: '/operations', heading: 'Operations' },
    { to: `/operations/${operation.id}`, heading: 'server.create' },
    { to: '/workspaces', heading: 'Workspaces' },
    { to: '/workspaces/default', heading: 'default' },
    { to: '/webhooks', heading: 'Webhooks' },
    { to: `/webhooks/${webhook.id}`, heading: 'Webhook' },
    { to: '/orphans', heading: 'Orphans' },
    { to: '/users', heading: 'Users' },
    { to: '/tokens', heading: 'API tokens' },
    { to: '/account', heading: 'Your account' },
    { to: '/audit', heading: 'Audit log' },
  ];
}
