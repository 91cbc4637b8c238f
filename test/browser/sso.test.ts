/** Signing in by an identity provider in a real browser, at a certified provider. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { PROOF, startInstallation } from '../support/acceptance.ts';
import { startIssuer } from '../support/issuer.ts';
import { freePort } from '../support/server.ts';
import { startBrowser, visit } from './support.ts';

const port = await freePort();
const issuer = await startIssuer({ callbacks: [`http://127.0.0.1:${port}/v1/auth/sso/main/callback`] });
const installation = await startInstallation({ ROLE: 'api', PORT: String(port), EGRESS_ALLOW: '127.0.0.1' });
const browser = await startBrowser();
after(async () => {
  await browser.close();
  await installation.close();
  await issuer.stop();
});
const { server } = installation;
await server.admin.request('POST', '/v1/auth/providers', {
  ...{ name: 'main', title: 'The Issuer', issuer: issuer.issuer },
  ...{ client_id: issuer.clientId, client_secret: issuer.clientSecret },
  group_roles: [{ group: 'readers', role: 'viewer' }],
  ...PROOF,
});

/** From the page that was asked for through the pages of the issuer. */
async function goThrough(subject: string) {
  const visited = await visit(browser, server);
  const { page, context } = visited;
  // The issuer's pages ask for fonts from elsewhere.
  await context.route(
    (url) => url.hostname !== '127.0.0.1',
    (route) => route.abort(),
  );
  await page.goto('/servers?tag=blue');
  await page.getByRole('link', { name: 'Sign in with The Issuer' }).click();
  await page.getByPlaceholder('Enter any login').fill(subject);
  await page.getByPlaceholder('and password').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  await page.getByRole('button', { name: 'Continue' }).click();
  return visited;
}

test('the button leads to the issuer and back to the page that was asked for, and nothing stays in the address', async () => {
  issuer.people.set('ada', { preferred_username: 'ada', groups: ['readers'] });
  const { page, context, problems } = await goThrough('ada');
  await page.getByRole('heading', { name: 'Servers', level: 1, exact: true }).waitFor();
  const url = new URL(page.url());
  assert.equal(`${url.pathname}${url.search}${url.hash}`, '/servers?tag=blue');
  await page.goBack();
  assert.ok(!page.url().includes('sso='), page.url());
  await page.goto('/account');
  await page.getByText('main:ada').first().waitFor();
  assert.deepEqual(
    problems.filter((problem) => !problem.startsWith('Failed to load resource')),
    [],
  );
  await context.close();
});

test('whoever has no role here reads so, and can sign in as somebody else', async () => {
  issuer.people.set('eve', { preferred_username: 'eve', groups: [] });
  const { page, context } = await goThrough('eve');
  await page.getByText('none of your groups gives a role here').waitFor();
  await page.getByRole('link', { name: 'Sign in with The Issuer' }).waitFor();
  await context.close();
});

test('a sign-in that somebody else began comes to nothing, in words', async () => {
  const { page, context } = await visit(browser, server);
  await page.goto(`/v1/auth/sso/main/callback?state=${'A'.repeat(43)}&code=x`);
  await page.getByRole('alert').getByText('Begin it again.').waitFor();
  await context.close();
});
