import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import type { Request } from 'playwright-core';
import { makeClient, makeServer, startInstallation } from '../support/acceptance.ts';
import { until } from '../support/server.ts';
import { signIn, startBrowser, visit } from './support.ts';

const installation = await startInstallation({ SIMULATED_LATENCY_MS: '300' });
const { server } = installation;
const browser = await startBrowser();
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});
after(async () => {
  await browser.close();
  await installation.close();
});

test('a server is previewed, created, watched live and deleted, with no request to any other host', async () => {
  const { page, foreign, problems } = await visit(browser, server);
  await signIn(page);
  await page.getByRole('link', { name: 'Servers' }).click();
  await page.getByRole('link', { name: 'Create a server' }).click();
  await page.getByLabel('Hostname').fill('from-browser');
  for (const [label, choice] of [
    ['Workspace', 'default'],
    ['Provider', 'simulated'],
    ['Plan', '2xCPU-4GB'],
    ['Zone', 'de-fra1'],
  ] as const) {
    const select = page.getByRole('combobox', { name: label });
    await until(async () => {
      await select.click();
      await page.getByRole('option', { name: choice, exact: true }).click();
      return (await select.inputValue()) === choice;
    }, `${choice} to be chosen`);
  }
  await page.getByRole('button', { name: 'Show what would happen' }).click();
  await page.getByLabel('What would happen').getByText('from-browser').waitFor();
  await page.getByRole('button', { name: 'Create it' }).click();
  await page.getByRole('heading', { name: 'server.create' }).waitFor();
  await page.getByRole('log').getByText('completed').waitFor();
  await page.getByText('running', { exact: true }).waitFor();

  await page.getByRole('link', { name: 'Servers' }).click();
  await page.getByRole('link', { name: 'from-browser' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('heading', { name: 'server.delete' }).waitFor();
  await page.getByRole('log').getByText('completed').waitFor();
  assert.deepEqual(foreign, []);
  assert.deepEqual(problems, []);
});

test('a taskserv is installed from the catalog by a form made from its schema', async () => {
  await makeServer(server.admin, 'for-redis');
  const { page, problems } = await visit(browser, server);
  await signIn(page);
  await page.getByRole('link', { name: 'Catalog' }).click();
  await page.getByRole('link', { name: 'redis', exact: true }).click();
  await page.getByRole('combobox', { name: 'Servers' }).click();
  await page.getByRole('option', { name: 'for-redis' }).click();
  await page.keyboard.press('Escape');
  await page.getByRole('textbox', { name: 'port' }).fill('6390');
  await page.getByRole('button', { name: 'Show what would happen' }).click();
  await page.getByLabel('What would happen').waitFor();
  await page.getByRole('button', { name: 'Install it' }).click();
  await page.getByRole('log').getByText('completed').waitFor();
  await page.getByRole('link', { name: 'Taskservs' }).click();
  await page.getByRole('link', { name: 'redis' }).click();
  await page.getByText('"port": 6390').waitFor();
  assert.deepEqual(problems, []);
});

test('a workflow is checked, run and watched step by step', async () => {
  const { page, problems } = await visit(browser, server);
  await signIn(page);
  await page.getByRole('link', { name: 'Workflows' }).click();
  await page.getByRole('link', { name: 'Run a workflow' }).click();
  await page.getByRole('combobox', { name: 'Type' }).click();
  await page.getByRole('option', { name: 'cluster_create' }).click();
  await page.getByRole('textbox', { name: 'cluster_name' }).fill('browser');
  await page.getByRole('textbox', { name: 'node_count' }).fill('2');
  await page.getByRole('button', { name: 'Check and show the order' }).click();
  await page.getByLabel('Waves').waitFor();
  await page.getByRole('button', { name: 'Run it' }).click();
  await page.getByRole('heading', { name: 'cluster_create' }).waitFor();
  await page.getByRole('table', { name: 'Steps' }).getByText('completed').first().waitFor();
  await page.getByRole('log').getByText('completed').waitFor();
  assert.deepEqual(problems, []);
});

test('what others do shows by itself, without a reload', async () => {
  const { page } = await visit(browser, server);
  await signIn(page);
  await page.getByRole('link', { name: 'Servers' }).click();
  await page.getByRole('heading', { name: 'Servers' }).waitFor();
  await makeServer(server.admin, 'made-by-others');
  await page.getByRole('link', { name: 'made-by-others' }).waitFor();
});

test('filters stand in the address and survive a reload', async () => {
  await makeServer(server.admin, 'filtered-in');
  await makeServer(server.admin, 'filtered-out');
  const { page } = await visit(browser, server);
  await signIn(page);
  await page.getByRole('link', { name: 'Servers' }).click();
  await page.getByLabel('Filter by hostname').fill('filtered-in');
  await page.getByLabel('Filter by hostname').press('Enter');
  await page.getByRole('link', { name: 'filtered-out' }).waitFor({ state: 'detached' });
  assert.match(page.url(), /hostname=filtered-in/);
  await page.reload();
  await page.getByRole('link', { name: 'filtered-in' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'filtered-out' }).count(), 0);
});

test('permissions hide what one may not do; a refusal is told in words', async () => {
  await makeClient(server, 'browser.viewer', [{ role: 'viewer' }]);
  const { page } = await visit(browser, server);
  await signIn(page, 'browser.viewer', 'a password for tests');
  assert.equal(await page.getByRole('link', { name: 'Users' }).count(), 0);
  await page.getByRole('link', { name: 'Servers' }).click();
  await page.getByRole('heading', { name: 'Servers' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Create a server' }).count(), 0);
  await page.goto('/audit');
  await page.getByRole('alert').getByText('Not allowed').waitFor();
});

test('a wrong password is said so, and a lost session leads back to the sign-in and then on', async () => {
  const { page } = await visit(browser, server);
  await page.goto('/operations');
  await page.getByLabel('User').fill('admin');
  await page.getByRole('textbox', { name: 'Password' }).fill('wrong-password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await page.getByRole('textbox', { name: 'Password' }).fill('correct horse battery staple');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Operations' }).waitFor();
});

test('a hundred thousand rows are scrolled without drawing them all', async () => {
  await installation.database.pool.query(
    `insert into provisioning.operations (id, kind, workspace, status, input, created_by, created_at)
     select gen_random_uuid(), 'server.stop', 'default', 'completed', '{}', 'admin', now() - n * interval '1 s'
     from generate_series(1, 100000) n`,
  );
  const { page } = await visit(browser, server);
  await signIn(page);
  await page.getByRole('link', { name: 'Operations' }).click();
  const region = page.getByRole('region', { name: 'operations' });
  await region.waitFor();
  for (let pages = 0; pages < 3; pages += 1) {
    const height = () => region.evaluate((element) => element.scrollHeight);
    const loaded = await height();
    await region.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await until(async () => (await height()) > loaded, 'further rows');
  }
  assert.ok((await page.getByRole('row').count()) < 120);
});

test('it is usable on a telephone, in the dark and by keyboard', async () => {
  const { page } = await visit(browser, server, { width: 360, colorScheme: 'dark' });
  await signIn(page);
  const html = page.locator('html');
  const overflow = await html.evaluate((element) => element.scrollWidth - element.clientWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} px too wide`);
  assert.equal(await html.getAttribute('data-mantine-color-scheme'), 'dark');
  await page.getByRole('button', { name: 'Menu' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Workspaces' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Workspaces' }).waitFor();
});

async function sentSize(request: Request): Promise<number> {
  const response = await request.response();
  return Number(await response?.headerValue('content-length'));
}

test('the first load is at most 250 KB of JavaScript, compressed', async () => {
  const context = await browser.newContext({ baseURL: server.url });
  const page = await context.newPage();
  const sizes: Promise<number>[] = [];
  page.on('requestfinished', (request) => {
    if (request.url().endsWith('.js')) sizes.push(sentSize(request));
  });
  await page.goto('/');
  await page.getByLabel('User').waitFor();
  const total = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  assert.ok(total > 0 && total <= 250 * 1024, `${total} bytes`);
});
