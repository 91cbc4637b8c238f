/** What one keeps secret and what one trusts: the own password, and the host key of a machine. */
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { expectError, expectOk, makeClient, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { ended, type Operation } from '../support/server.ts';
import { needsSshd, startSshd } from '../support/sshd.ts';
import { menu, startBrowser, visitor } from './support.ts';

const NEW_PASSWORD = 'another password for tests';
const installation = await startInstallation({ EGRESS_ALLOW: '127.0.0.0/8' });
const { server } = installation;
const browser = await startBrowser();
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});
after(async () => {
  await browser.close();
  await installation.close();
});

test('one changes the own password: every session ends with it, and the new one signs in', async () => {
  const elsewhere = await makeClient(server, 'browser.changer', [{ role: 'viewer' }]);
  const { page } = await visitor(browser, server, { username: 'browser.changer', password: USER_PASSWORD });
  await page.getByRole('banner').getByRole('link', { name: 'browser.changer' }).click();
  await page.getByRole('heading', { name: 'Your account', level: 1 }).waitFor();
  const field = (name: string) => page.getByRole('textbox', { name, exact: true });
  const send = page.getByRole('button', { name: 'Change password' });

  await field('New password').fill('short');
  await page.getByText(/At least \d+ characters\./).waitFor();
  await field('New password').fill(NEW_PASSWORD);
  await field('Current password').fill('not the present one');
  await field('New password again').fill(`${NEW_PASSWORD}!`);
  await page.getByText('The two passwords differ.').waitFor();
  assert.equal(await send.isDisabled(), true);
  await field('New password again').fill(NEW_PASSWORD);
  await send.click();
  await page.getByRole('alert').getByText('password', { exact: false }).first().waitFor();
  expectOk(await elsewhere.request('GET', '/v1/auth/me'));

  await field('Current password').fill(USER_PASSWORD);
  await send.click();
  await page.getByRole('status').getByText('Password changed').waitFor();
  expectError(await elsewhere.request('GET', '/v1/auth/me'), 401);
  assert.equal(await page.getByLabel('User').inputValue(), 'browser.changer');
  await page.getByRole('textbox', { name: 'Password' }).fill(USER_PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await page.getByRole('textbox', { name: 'Password' }).fill(NEW_PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
});

test('a machine with another host key is refused until somebody forgets the one it had', {
  skip: needsSshd(),
}, async () => {
  const { public_key: key } = expectOk(
    await server.admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key'),
  );
  await using sshd = await startSshd(key);
  const machine = {
    workspace: 'default',
    hostname: 'made-anew',
    ip_address: '127.0.0.1',
    ssh: { user: 'root', port: sshd.port },
  };
  const { id } = expectOk(await server.admin.request<Operation>('POST', '/v1/servers/import', machine));
  assert.equal((await ended(server.admin, id)).status, 'completed');
  await sshd.changeHostKey();

  const { page, problems } = await visitor(browser, server);
  const look = async () => {
    await page.goto('/catalog/os-base?workspace=default&server=made-anew');
    await page.getByRole('button', { name: 'Preview' }).click();
  };
  const order = page.getByRole('list', { name: 'Order' });
  const other = page.getByText('host key has changed');
  await look();
  await other.first().waitFor();
  await menu(page, 'Servers').click();
  await page.getByRole('link', { name: 'made-anew' }).click();
  await page.getByRole('button', { name: 'Forget host key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('will be trusted from then on').waitFor();
  await dialog.getByRole('button', { name: 'Forget host key' }).click();
  await page.getByRole('status').getByText('Host key forgotten.').waitFor();
  await look();
  await order.getByText('install os-base').waitFor();
  assert.equal(await other.count(), 0);
  assert.deepEqual(problems, []);
});
