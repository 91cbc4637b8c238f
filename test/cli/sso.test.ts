/** Signing in from a terminal by an identity provider, with the real command line in a process of its own. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { startInstallation } from '../support/acceptance.ts';
import { createBrowser, startIssuer } from '../support/issuer.ts';
import { ADMIN_PASSWORD, freePort } from '../support/server.ts';
import { createCommandLine, ended, printed } from './support.ts';

const port = await freePort();
const callbacks = ['main', 'plain'].map((name) => `http://127.0.0.1:${port}/v1/auth/sso/${name}/callback`);
const issuer = await startIssuer({ callbacks });
const plain = await startIssuer({ callbacks, device: false });
const installation = await startInstallation({ ROLE: 'api', PORT: String(port), EGRESS_ALLOW: '127.0.0.1' });
const cli = await createCommandLine();
after(async () => {
  await cli[Symbol.asyncDispose]();
  await installation.close();
  await issuer.stop();
  await plain.stop();
});
const { server } = installation;
for (const at of [issuer, plain]) {
  at.people.set('ada', { preferred_username: 'ada', groups: ['readers'] });
}
const ok = async (args: string[], input = '') => {
  const { status, stdout, stderr } = await cli.run(args, { input });
  assert.equal(status, 0, `${args.join(' ')}\n${stderr}`);
  return stdout.trim();
};

test('an administrator sets providers up; their secrets come from files', async () => {
  await ok(['login', server.url, '--name', 'main', '--password-stdin'], ADMIN_PASSWORD);
  const secret = path.join(cli.home, 'secret');
  await writeFile(secret, `${issuer.clientSecret}\n`);
  const common = [
    '--client-id',
    issuer.clientId,
    '--client-secret-file',
    secret,
    '--group-role',
    'readers=viewer:default',
    '--device-login',
    'yes',
    '--password-stdin',
  ];
  for (const [name, at] of [
    ['main', issuer],
    ['plain', plain],
  ] as const) {
    const made = await ok(
      ['identity-provider', 'create', name, '--issuer', at.issuer, ...common, '-o', 'json'],
      `${ADMIN_PASSWORD}\n`,
    );
    assert.deepEqual(JSON.parse(made).group_roles, [{ group: 'readers', role: 'viewer', workspace: 'default' }]);
    assert.ok(!made.includes(issuer.clientSecret));
  }
});

test('login --sso: a code for any device, and a context as by password', async () => {
  const child = cli.start(['login', server.url, '--sso', '--provider', 'main', '--name', 'device']);
  const end = ended(child);
  const shown = await printed(child, /The same in one:\n {2}\S+\n/);
  const address = /The same in one:\n {2}(\S+)/.exec(shown)?.[1] ?? '';
  const { page } = await createBrowser().visit(address, { as: 'ada' });
  assert.match(page, /Sign-in Success/);
  const { status, stderr } = await end;
  assert.equal(status, 0, stderr);
  assert.equal(await ok(['whoami', '-o', 'name']), 'main:ada');
  const contexts = await readFile(path.join(cli.home, '.config/provisioning/contexts.json'), 'utf8');
  assert.equal(JSON.parse(contexts).contexts.device.username, 'main:ada');
});

test('login --sso where the provider knows no codes: a browser on this machine', async () => {
  const child = cli.start(['login', server.url, '--sso', '--provider', 'plain', '--name', 'browser']);
  const end = ended(child);
  const shown = await printed(child, /sign in:\n {2}\S+\n/);
  const address = /sign in:\n {2}(\S+)/.exec(shown)?.[1] ?? '';
  const browser = createBrowser();
  const code = /shows this code:\n {2}(\S+)/.exec(shown)?.[1] ?? 'none';
  const { page } = await browser.visit(address, { as: 'ada' });
  assert.match(code, /^[0-9A-F]{4}-[0-9A-F]{4}$/);
  assert.match(page, /Go back to the terminal/);
  const { status, stderr } = await end;
  assert.equal(status, 0, stderr);
  assert.equal(await ok(['whoami', '-o', 'name']), 'plain:ada');
});

test('login --sso --paste: a browser elsewhere, whose last address is pasted', async () => {
  const child = cli.terminal(['login', server.url, '--sso', '--provider', 'plain', '--paste', '--name', 'pasted']);
  const end = ended(child);
  const shown = await printed(child, /Paste the address/);
  const address = /sign in:\s+(\S+)/.exec(shown)?.[1] ?? '';
  const { url } = await createBrowser().visit(address, {
    as: 'ada',
    stays: (at) => [String(port), new URL(plain.issuer).port].includes(at.port),
  });
  child.stdin.write(`${url.href}\n`);
  const { status, stdout } = await end;
  assert.equal(status, 0, stdout);
  assert.equal(await ok(['whoami', '-o', 'name', '--context', 'pasted']), 'plain:ada');
});

test('without a choice it says which there are; a sign-in that is refused leaves the contexts as they are', async () => {
  const several = await cli.run(['login', server.url, '--sso']);
  assert.equal(several.status, 2);
  assert.match(several.stderr, /--provider: main or plain/);
  const before = await readFile(path.join(cli.home, '.config/provisioning/contexts.json'), 'utf8');
  plain.people.set('eve', { preferred_username: 'eve', groups: [] });
  const child = cli.start(['login', server.url, '--sso', '--provider', 'plain', '--name', 'eve']);
  const end = ended(child);
  const shown = await printed(child, /sign in:\n {2}\S+\n/);
  await createBrowser().visit(/sign in:\n {2}(\S+)/.exec(shown)?.[1] ?? '', { as: 'eve' });
  const { status, stderr } = await end;
  assert.equal(status, 4);
  assert.match(stderr, /none of your groups gives a role here/);
  assert.equal(await readFile(path.join(cli.home, '.config/provisioning/contexts.json'), 'utf8'), before);
});

test('token exchange prints a token for a job', async () => {
  await ok(['context', 'use', 'main']);
  await ok(['service-account', 'create', 'deploy', '--role', 'viewer']);
  const rules = path.join(cli.home, 'rules.json');
  const rule = {
    name: 'main',
    audience: 'https://x.example',
    claims: { sub: 'job' },
    service_account: 'deploy@default',
  };
  await writeFile(rules, JSON.stringify([rule]));
  await ok(
    ['identity-provider', 'update', 'plain', '--exchange-file', rules, '--password-stdin'],
    `${ADMIN_PASSWORD}\n`,
  );
  const token = await plain.jobToken({ sub: 'job', aud: 'https://x.example' });
  const { status, stdout, stderr } = await cli.run(['token', 'exchange', '-o', 'name'], {
    input: `${token}\n`,
    env: { PROVISIONING_URL: server.url },
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^prv_[0-9A-Za-z]{40}\n$/);
});
