/** What an administrator does to the logins of others: it takes their own password. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Locator } from 'playwright-core';
import { expectError, expectOk, makeUser, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { ADMIN_PASSWORD } from '../support/server.ts';
import { codesNow } from '../support/totp.ts';
import { choose, startBrowser, visitor } from './support.ts';

const NEXT_PASSWORD = 'another password of theirs';
const installation = await startInstallation();
const { server } = installation;
const browser = await startBrowser();
after(async () => {
  await browser.close();
  await installation.close();
});

const login = (username: string, password: string) =>
  server.anonymous.request('POST', '/v1/auth/login', { username, password });
const password = (dialog: Locator) => dialog.getByRole('textbox', { name: /^Password/ });
const ownPassword = (dialog: Locator) => dialog.getByRole('textbox', { name: /^Your password/ });

test('passwords and second factors of others, and new administrators, take the own password', async () => {
  await makeUser(server.admin, 'browser.helped', [{ role: 'viewer' }]);
  const helped = await server.login('browser.helped', USER_PASSWORD);
  const given = { password: USER_PASSWORD };
  const { secret } = expectOk(await helped.request<{ secret: string }>('POST', '/v1/auth/totp', given));
  expectOk(await helped.request('POST', '/v1/auth/totp/confirm', { code: codesNow(secret)[0] }));

  const { page } = await visitor(browser, server, { username: 'admin', password: ADMIN_PASSWORD });
  await page.goto('/users');
  await page.getByRole('row').filter({ hasText: 'browser.helped' }).getByRole('button', { name: 'Change' }).click();

  await page.getByRole('button', { name: 'Reset second factor' }).click();
  const reset = page.getByRole('dialog', { name: 'Reset second factor' });
  await ownPassword(reset).fill('not my password');
  await reset.getByRole('button', { name: 'Reset second factor' }).click();
  await reset.getByText('The user name or the password is wrong').waitFor();
  expectError(await login('browser.helped', USER_PASSWORD), 401, 'TOTP_REQUIRED');
  await ownPassword(reset).fill(ADMIN_PASSWORD);
  await reset.getByRole('button', { name: 'Reset second factor' }).click();
  await reset.waitFor({ state: 'detached' });
  expectOk(await login('browser.helped', USER_PASSWORD));

  await page.getByRole('button', { name: 'Set password' }).click();
  const change = page.getByRole('dialog', { name: 'Set password' });
  await password(change).fill(NEXT_PASSWORD);
  assert.equal(await change.getByRole('button', { name: 'Set password' }).isEnabled(), false);
  await ownPassword(change).fill(ADMIN_PASSWORD);
  await change.getByRole('button', { name: 'Set password' }).click();
  await change.waitFor({ state: 'detached' });
  expectOk(await login('browser.helped', NEXT_PASSWORD));
  await page.keyboard.press('Escape');

  await page.getByRole('button', { name: 'New user' }).click();
  const made = page.getByRole('dialog', { name: 'New user' });
  await made.getByRole('textbox', { name: /^Username/ }).fill('browser.admin');
  await password(made).fill(NEXT_PASSWORD);
  await choose(page, 'Role', 'admin');
  await made.getByRole('button', { name: 'Create' }).click();
  await made.getByText('A session alone does not do this').waitFor();
  await ownPassword(made).fill(ADMIN_PASSWORD);
  await made.getByRole('button', { name: 'Create' }).click();
  await made.waitFor({ state: 'detached' });
  expectOk(await login('browser.admin', NEXT_PASSWORD));
});
