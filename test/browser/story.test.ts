/** The whole story in a browser on a real server: what a person does from the first sign-in on. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, test } from 'node:test';
import type { Page } from 'playwright-core';
import { expectOk, makeServer, startInstallation } from '../support/acceptance.ts';
import { startCutProxy } from '../support/cut-proxy.ts';
import { type Operation, until } from '../support/server.ts';
import { choose, menu, PATIENCE_MS, startBrowser, visitor } from './support.ts';

const installation = await startInstallation();
const { server } = installation;
const browser = await startBrowser();
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});
after(async () => {
  await browser.close();
  await installation.close();
});

/** Tells the simulated cloud that a script on this server is to hang, or to fail. @returns what makes it work again. */
async function hinder(
  serverId: string,
  label: string,
  hangs: boolean,
  pool = installation.database.pool,
): Promise<() => Promise<unknown>> {
  await pool.query(
    `insert into simulated_cloud.failures (ref, label, hangs)
     select provider_ref, $2, $3 from provisioning.servers where id = $1`,
    [serverId, label, hangs],
  );
  return () => pool.query('delete from simulated_cloud.failures where label = $1', [label]);
}

const status = (page: Page, name: string) => page.locator('header .status').getByText(name, { exact: true });
const log = (page: Page) => page.getByRole('log');

test('a server is previewed, created, watched live, stopped and deleted, with no request to any other host', async () => {
  const { page, foreign, problems } = await visitor(browser, server);
  await menu(page, 'Servers').click();
  await page.getByRole('link', { name: 'Create a server' }).first().click();
  await page.getByLabel('Hostname').fill('From-Browser');
  await page.getByText('lower-case letters, digits and hyphens').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Preview' }).isDisabled(), true);
  await page.getByLabel('Hostname').fill('from-browser');
  await choose(page, 'Plan', '2xCPU-4GB');
  await choose(page, 'Zone', 'de-fra1 · Frankfurt');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByRole('list', { name: 'Order' }).getByText('create server from-browser').waitFor();
  assert.deepEqual(expectOk(await server.admin.request('GET', '/v1/servers?hostname=from-browser')), []);
  await page.getByRole('button', { name: 'Create server' }).click();
  await page.getByRole('heading', { name: 'server.create' }).waitFor();
  await log(page).getByText('completed').waitFor();
  await status(page, 'completed').waitFor();

  await menu(page, 'Servers').click();
  await page.getByRole('link', { name: 'from-browser' }).click();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('heading', { name: 'server.stop' }).waitFor();
  await status(page, 'completed').waitFor();
  await page.goBack();
  await status(page, 'stopped').waitFor();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('heading', { name: 'server.delete' }).waitFor();
  await status(page, 'completed').waitFor();
  assert.deepEqual(foreign, []);
  assert.deepEqual(problems, []);
});

test('a taskserv is installed from the catalog by a form made from its schema', async () => {
  await makeServer(server.admin, 'for-redis');
  const { page, problems } = await visitor(browser, server);
  await menu(page, 'Catalog').click();
  await page.getByLabel('Search the catalog').fill('redis');
  await page.getByRole('main').getByRole('link', { name: 'redis' }).click();
  await choose(page, 'Servers', 'for-redis');
  await page.keyboard.press('Escape');
  await page.getByRole('textbox', { name: 'Port' }).fill('99999');
  await page.getByText('At most 65535.').waitFor();
  await page.getByRole('textbox', { name: 'Port' }).fill('6390');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByRole('list', { name: 'Order' }).getByText('install redis').waitFor();
  await page.getByRole('button', { name: 'Install', exact: true }).click();
  await log(page).getByText('completed').waitFor();
  await menu(page, 'Services').click();
  await page.getByRole('link', { name: 'redis' }).click();
  await page.getByText('"port": 6390').waitFor();
  assert.deepEqual(problems, []);
});

test('a cluster is checked, run, watched in its picture and looked into step by step', async () => {
  const { page, problems } = await visitor(browser, server);
  await menu(page, 'Workflows').click();
  await page.getByRole('link', { name: 'Run a workflow' }).click();
  await choose(page, 'Type', 'cluster_create');
  await page.getByRole('textbox', { name: 'Cluster name' }).fill('browser');
  await page.getByRole('textbox', { name: 'Node count' }).fill('2');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByRole('list', { name: 'Waves' }).getByText('nodes (2)').waitFor();
  await page.getByRole('button', { name: 'Run workflow' }).click();
  await page.getByRole('heading', { name: 'cluster_create' }).waitFor();
  await status(page, 'completed').waitFor();
  await page.getByRole('button', { name: 'base taskserv.create completed' }).click();
  const panel = page.getByRole('region', { name: 'Step base' });
  await panel.getByRole('log').getByText('completed').waitFor();
  assert.match(page.url(), /step=base/);
  // The arrow keys lead on along the graph: back to what it waits for.
  await page.getByRole('button', { name: 'base taskserv.create completed' }).press('ArrowLeft');
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'Step nodes[0]' }).waitFor();
  await page.getByText('List', { exact: true }).click();
  await page.getByRole('table', { name: 'Steps' }).getByRole('button', { name: 'nodes[1]' }).click();
  await page.getByRole('region', { name: 'Step nodes[1]' }).getByText('server.create').waitFor();
  assert.deepEqual(problems, []);
});

test('a workflow that fails is tried again, and one that hangs is cancelled', async () => {
  const { server: host } = await makeServer(server.admin, 'for-rollout');
  const { page } = await visitor(browser, server);
  const work = await hinder(host.id, 'install nginx', false);
  const run = async () => {
    await page.goto('/workflows/submit?type=taskserv_rollout');
    await page.getByRole('textbox', { name: 'Name' }).fill('nginx');
    await page.getByRole('combobox', { name: 'Servers' }).fill('for-rollout');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByRole('button', { name: 'Run workflow' }).click();
    await page.getByRole('heading', { name: 'taskserv_rollout' }).waitFor();
  };
  await run();
  await status(page, 'failed').waitFor();
  await page.getByRole('alert').getByText('nginx').first().waitFor();
  await work();
  await page.getByRole('button', { name: 'Retry failed steps' }).click();
  await page.getByRole('heading', { name: 'workflow.run' }).waitFor();
  await status(page, 'completed').waitFor();

  const release = await hinder(host.id, 'install redis', true);
  await page.goto('/catalog/redis?workspace=default&server=for-rollout');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByRole('button', { name: 'Install', exact: true }).click();
  await log(page).getByText('install redis: begun').or(log(page).getByText('installing redis')).first().waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  await status(page, 'cancelled').waitFor();
  await release();
});

test('no line of a log is lost or doubled over a crash and a restart of the server', async () => {
  // Alone on its database: there is nobody who could take over in between.
  await using own = await startInstallation({ MASTER_KEY: randomBytes(32).toString('base64') });
  const first = own.server;
  const { server: host } = await makeServer(first.admin, 'for-restart');
  const release = await hinder(host.id, 'install mariadb', true, own.database.pool);
  const body = { workspace: 'default', name: 'mariadb', servers: ['for-restart'] };
  const { id } = expectOk(await first.admin.request<Operation>('POST', '/v1/taskservs/create', body));
  const target = { port: Number(new URL(first.url).port) };
  await using proxy = await startCutProxy(target);
  const { page } = await visitor(browser, { url: `http://127.0.0.1:${proxy.port}` });
  await page.goto(`/operations/${id}`);
  await log(page).getByText('installing mariadb').waitFor();
  await first.kill();
  proxy.cut();
  const second = await own.replica();
  target.port = Number(new URL(second.url).port);
  const attached = `select from simulated_cloud.runs where kind = 'job' and label = 'install mariadb' and attached > 1`;
  await until(
    async () => (await own.database.pool.query(attached)).rowCount === 1,
    'the next server to go on with the job',
    PATIENCE_MS,
  );
  await release();
  await log(page).getByText('completed').waitFor();
  await status(page, 'completed').waitFor();
  const events = expectOk(
    await second.admin.request<{ seq: number; type: string }[]>('GET', `/v1/operations/${id}/events`),
  );
  const told = events.filter(({ type }) => type !== 'progress').map(({ seq }) => seq);
  const shown = await page.locator('.log-line').evaluateAll((lines) => lines.map((line) => Number(line.dataset.seq)));
  assert.deepEqual(shown, told);
});
