/** What lets one in, on the page of one's own account: the authenticator app, and the sessions. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeUser, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { createClient } from '../support/server.ts';
import { codesNow } from '../support/totp.ts';
import { menu, startBrowser, visit, visitor } from './support.ts';

const installation = await startInstallation();
const { server } = installation;
const browser = await startBrowser();
after(async () => {
  await browser.close();
  await installation.close();
});

test('one sets up an app, and signing in asks for its code', async () => {
  await makeUser(server.admin, 'browser.careful', [{ role: 'viewer' }]);
  const { page, problems } = await visitor(browser, server, { username: 'browser.careful', password: USER_PASSWORD });
  await page.goto('/account');
  await page.getByRole('button', { name: 'Set up app' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Password' }).fill(USER_PASSWORD);
  await dialog.getByRole('button', { name: 'Show secret' }).click();
  const secret = (await page.getByText(/^[A-Z2-7]{32}$/).textContent()) ?? '';
  await page.getByRole('button', { name: 'Confirm with a code' }).click();
  await dialog.getByRole('textbox', { name: 'Code' }).fill(codesNow(secret)[0]);
  await dialog.getByRole('button', { name: 'Confirm', exact: true }).click();
  const codes = (await dialog.getByText(/^([a-z2-9]{5}-[a-z2-9]{5}\s*){10}$/).textContent()) ?? '';
  assert.equal(codes.split('\n').length, 10);
  await dialog.getByRole('button', { name: 'Done' }).click();
  await page.getByText('Recovery codes left: 10').waitFor();
  assert.deepEqual(problems, []);

  const again = await visit(browser, server);
  await again.page.goto('/');
  await again.page.getByLabel('User').fill('browser.careful');
  await again.page.getByRole('textbox', { name: 'Password' }).fill(USER_PASSWORD);
  await again.page.getByRole('button', { name: 'Sign in' }).click();
  await again.page.getByLabel('Code').fill(codesNow(secret)[1]);
  await again.page.getByRole('button', { name: 'Sign in' }).click();
  await again.page.getByRole('heading', { name: 'Overview' }).waitFor();
});

test('one sees from where one is signed in, and ends what is not oneself', async () => {
  await makeUser(server.admin, 'browser.two', [{ role: 'viewer' }]);
  const login = { username: 'browser.two', password: USER_PASSWORD };
  const other = expectOk(
    await server.anonymous.request<{ token: string }>('POST', '/v1/auth/login', login, { 'user-agent': 'old-laptop' }),
  );
  const elsewhere = createClient(server.url, other.token);
  const { page, problems } = await visitor(browser, server, login);
  await menu(page, 'Overview').waitFor();
  await page.goto('/account');
  const row = page.getByRole('row').filter({ hasText: 'old-laptop' });
  await page.getByText('this session').waitFor();
  await row.getByRole('button', { name: 'End' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'End' }).click();
  await row.waitFor({ state: 'detached' });
  expectError(await elsewhere.request('GET', '/v1/auth/me'), 401, 'UNAUTHORIZED');
  await page.getByText('this session').waitFor();
  assert.deepEqual(problems, []);
});
