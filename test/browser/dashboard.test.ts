import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { makeClient, makeServer, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { ADMIN_PASSWORD, until } from '../support/server.ts';
import { menu, startBrowser, visit, visitor } from './support.ts';

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

test("the page of the API works under a policy that runs no scripts but the server's", async () => {
  const { page, foreign, problems } = await visit(browser, server);
  await page.goto('/docs');
  await page.getByRole('heading', { name: 'Provisioning' }).first().waitFor();
  assert.deepEqual({ foreign, problems }, { foreign: [], problems: [] });
  await page.evaluate(
    `document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title = "injected"' }))`,
  );
  assert.notEqual(await page.title(), 'injected');
});

test('what others do shows by itself, without a reload', async () => {
  const { page } = await visitor(browser, server);
  await menu(page, 'Servers').click();
  await page.getByRole('heading', { name: 'Servers' }).waitFor();
  await makeServer(server.admin, 'made-by-others');
  await page.getByRole('link', { name: 'made-by-others' }).waitFor();
});

test('filters and order stand in the address and survive a reload', async () => {
  await makeServer(server.admin, 'filtered-a');
  await makeServer(server.admin, 'filtered-b', { zone: 'fi-hel1' });
  const { page } = await visitor(browser, server);
  await menu(page, 'Servers').click();
  const names = () => page.getByRole('link', { name: /^filtered-/ }).allInnerTexts();
  await page.getByRole('button', { name: 'Hostname' }).click();
  await page.getByRole('button', { name: 'Hostname' }).click();
  await until(async () => (await names()).join() === 'filtered-b,filtered-a', 'the order to be turned');
  assert.match(page.url(), /sort=-hostname/);
  await page.getByLabel('Filter by zone').fill('fi-hel1');
  await page.getByLabel('Filter by zone').press('Enter');
  await page.getByRole('link', { name: 'filtered-a' }).waitFor({ state: 'detached' });
  assert.match(page.url(), /zone=fi-hel1/);
  await page.reload();
  await page.getByRole('link', { name: 'filtered-b' }).waitFor();
  assert.deepEqual(await names(), ['filtered-b']);
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await page.getByRole('link', { name: 'filtered-a' }).waitFor();
  await page.getByLabel('Filter by status').selectOption('missing');
  await page.getByText('No matching servers').waitFor();
});

test('a viewer sees no button that changes anything; a refusal is told in words', async () => {
  const { server: host, operation } = await makeServer(server.admin, 'only-seen');
  await makeClient(server, 'browser.viewer', [{ role: 'viewer' }]);
  const { page } = await visitor(browser, server, { username: 'browser.viewer', password: USER_PASSWORD });
  assert.equal(await menu(page, 'Users').count(), 0);
  for (const [to, heading] of [
    ['/servers', 'Servers'],
    [`/servers/${host.id}`, 'only-seen'],
    ['/taskservs', 'Services'],
    ['/workflows', 'Workflows'],
    ['/schedules', 'Schedules'],
    [`/operations/${operation.id}`, 'server.create'],
    ['/workspaces', 'Workspaces'],
    ['/workspaces/default', 'default'],
  ] as const) {
    await page.goto(to);
    await page.getByRole('heading', { name: heading, level: 1 }).waitFor();
    await page.getByLabel('Loading').first().waitFor({ state: 'detached' });
    const buttons = await page.getByRole('main').getByRole('button').allInnerTexts();
    // What was done to it is listed by its title, such as "Create only-seen".
    const links = await page.getByRole('main').locator('a:not([href*="/operations/"])').allInnerTexts();
    const changing = [...buttons, ...links].filter((text) =>
      /\b(create|start|stop|delete|cancel|new|set|install|run|write|import|make|activate|repair|recreate|replace|check)\b/i.test(
        text.replace('server.create', ''),
      ),
    );
    assert.deepEqual(changing, [], to);
  }
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
  await page.getByRole('textbox', { name: 'Password' }).fill(ADMIN_PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Operations' }).waitFor();
});

test('a definition is completed and checked while it is written, and its graph shows beside it', async () => {
  const { page } = await visitor(browser, server);
  await page.goto('/workflows/editor');
  await page.getByText('No problems found.').waitFor();
  await page.getByRole('button', { name: 'web server.create 2 waiting' }).waitFor();
  const editor = page.getByRole('textbox', { name: 'Definition' });
  await editor.click();
  await page.keyboard.press('Control+End');
  await page.keyboard.type('  - id: last\n');
  // The editor indents the line by itself; the keys that fit are offered.
  await page.keyboard.type('ki');
  await page.getByRole('option', { name: 'kind' }).click();
  await page.keyboard.type('wai');
  await page.getByRole('option', { name: 'wait' }).click();
  await page.getByText('Line ', { exact: false }).or(page.getByText('Something is missing')).first().waitFor();
  await page.keyboard.type('\nwith: { seconds: 1 }');
  await page.getByText('No problems found.').waitFor();
  await page.getByRole('button', { name: 'last wait waiting' }).waitFor();
  await page.keyboard.type('\nkindd: x');
  await page
    .getByRole('status')
    .getByText(/Line \d+: /)
    .waitFor();
});

test('a hundred thousand rows are scrolled without drawing or keeping them all', async () => {
  await installation.database.pool.query(
    `insert into provisioning.operations (id, kind, workspace, status, input, created_by, created_at)
     select gen_random_uuid(), 'server.stop', 'default', 'completed', '{}', 'admin', now() - n * interval '1 s'
     from generate_series(1, 100000) n`,
  );
  const { page } = await visitor(browser, server);
  await menu(page, 'Operations').click();
  const region = page.getByRole('region', { name: 'operations' });
  await region.waitFor();
  await page.getByText('more than 10,000 operations').waitFor();
  const height = () => region.evaluate((element) => element.scrollHeight);
  for (let pages = 0; pages < 6; pages += 1) {
    const loaded = await height();
    await region.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await until(async () => (await height()) > loaded, 'further rows');
  }
  assert.ok((await page.getByRole('row').count()) < 80);
  await region.evaluate((element) => element.scrollTo(0, 0));
  await region.getByRole('link', { name: 'server.stop' }).first().waitFor();
});
