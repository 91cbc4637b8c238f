import path from 'node:path';
import { ApiError, createClient, type Schemas } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text } from '../command.ts';
import { updateConfig } from '../config-file.ts';
import { UsageError } from '../errors.ts';
import type { Session } from '../session.ts';
import { signIn } from '../sign-in.ts';
import { trustAuthorities } from '../trust.ts';
import { askForCode } from './totp.ts';

const DEFAULT_URL = 'http://localhost:8083';

interface LoggedIn {
  username: string;
  pair: Schemas['TokenPair'];
}

async function byPassword({ terminal }: Session, url: string, options: OptionValues): Promise<LoggedIn> {
  const username = text(options, 'username') ?? 'admin';
  const password =
    options.passwordStdin === true
      ? (await terminal.readAll()).replace(/\r?\n$/, '')
      : await terminal.ask(`Password of ${username} at ${url}: `, { hidden: true });
  const client = createClient({ url });
  const logIn = (totp: string | undefined) =>
    client.post('/v1/auth/login', { body: { username, password, ...given({ totp }) } });
  const pair = await logIn(text(options, 'totp')).catch(async (error) => {
    if (!(error instanceof ApiError && error.code === 'TOTP_REQUIRED')) throw error;
    return logIn(await askForCode(terminal));
  });
  return { username, pair };
}

async function bySso({ terminal }: Session, url: string, options: OptionValues): Promise<LoggedIn> {
  const wanted = { provider: text(options, 'provider'), paste: options.paste === true };
  const pair = await signIn(terminal, { client: createClient({ url }), url, ...wanted });
  const { username } = await createClient({ url, token: pair.token }).get('/v1/auth/me');
  return { username, pair };
}

/** Who you are, on which server. */
export const accountCommands: readonly CommandDefinition[] = [
  {
    name: 'login',
    summary: 'log in to a server and remember it as a context',
    description: `The tokens are stored in a file that only you can read, and renewed automatically. In a pipeline, set
PROVISIONING_URL and PROVISIONING_TOKEN (an API token) instead of logging in.`,
    examples: [
      'provisioning login https://provisioning.example',
      'provisioning login --username ci --password-stdin < password.txt',
      'provisioning login https://provisioning.example --sso',
    ],
    arguments: [{ name: 'url', description: `address of the server (default ${DEFAULT_URL})`, optional: true }],
    options: [
      { flags: '--username <name>', description: 'user name', default: 'admin' },
      { flags: '--password-stdin', description: 'read the password from standard input' },
      {
        flags: '--totp <code>',
        description: 'code of the authenticator app (default: the command asks for it if needed)',
      },
      {
        flags: '--sso',
        description: 'log in by an identity provider: in a browser or, where it is allowed, with a code on any device',
      },
      { flags: '--provider <name>', description: 'which one, where the server has several' },
      {
        flags: '--paste',
        description: 'with --sso, where the browser is on another machine: paste the address at which it ends',
      },
      { flags: '--name <context>', description: 'name of the context (default: the host of the url)' },
      {
        flags: '--ca <file>',
        description: 'PEM file of certificate authorities to trust for this server; for any command: PROVISIONING_CA',
      },
    ],
    covers: [
      'POST /v1/auth/login',
      'POST /v1/auth/refresh',
      'GET /v1/auth/sso',
      'GET /v1/auth/sso/{name}/start',
      'GET /v1/auth/sso/{name}/callback',
      'POST /v1/auth/sso/token',
      'POST /v1/auth/sso/{name}/device',
      'POST /v1/auth/sso/device/token',
    ],
    async run(session, [address], options) {
      const { configFile, environment } = session;
      const url = (address ?? environment.PROVISIONING_URL ?? DEFAULT_URL).replace(/\/+$/, '');
      if (!/^https?:\/\//.test(url) || !URL.canParse(url))
        throw new UsageError(`"${url}" is not a valid address. Example: https://provisioning.example`);
      const name = text(options, 'name') ?? new URL(url).host;
      const authorities = text(options, 'ca') ?? environment.PROVISIONING_CA;
      const ca = authorities === undefined ? undefined : path.resolve(authorities);
      if (ca !== undefined) await trustAuthorities(ca);
      // First without a trace on disk: a login that fails must not replace a context that works.
      const { username, pair } =
        options.sso === true ? await bySso(session, url, options) : await byPassword(session, url, options);
      const entry = { url, username, token: pair.token, refresh_token: pair.refresh_token, ...given({ ca }) };
      await updateConfig(configFile, async (config) => ({
        current: name,
        contexts: { ...config.contexts, [name]: entry },
      }));
      session.done(
        `Logged in as ${username}. Current context: "${name}".`,
        { context: name, url, username },
        { name: 'context' },
      );
    },
  },
  {
    name: 'logout',
    summary: 'end all your logins on the server and delete the stored tokens',
    examples: ['provisioning logout'],
    covers: ['POST /v1/auth/logout'],
    async run(session, _args, options) {
      const client = await session.client();
      if (options.check === true) await client.post('/v1/auth/logout');
      else await client.logout();
      session.done('All your logins have ended.', { logged_out: true }, { name: 'logged_out' });
    },
  },
  {
    name: 'whoami',
    summary: 'show your user and your permissions',
    examples: ['provisioning whoami', 'provisioning whoami -o json'],
    covers: ['GET /v1/auth/me'],
    async run(session) {
      session.record(await (await session.client()).get('/v1/auth/me'), { name: 'username' });
    },
  },
  {
    name: 'password',
    summary: 'change your password; all your logins and tokens end',
    examples: ['provisioning password'],
    covers: ['POST /v1/auth/password'],
    async run(session) {
      const { terminal } = session;
      const current = await terminal.ask('Current password: ', { hidden: true });
      const next = await terminal.ask('New password: ', { hidden: true });
      if ((await terminal.ask('New password again: ', { hidden: true })) !== next) {
        throw new UsageError('The two new passwords differ. Nothing was changed.');
      }
      const client = await session.client();
      const change = (totp: string | undefined) =>
        client.post('/v1/auth/password', {
          body: { current_password: current, new_password: next, ...given({ totp }) },
        });
      await change(undefined).catch(async (error) => {
        if (!(error instanceof ApiError && error.code === 'TOTP_REQUIRED')) throw error;
        return change(await askForCode(terminal));
      });
      session.done('Password changed. Log in again: provisioning login', { changed: true }, { name: 'changed' });
    },
  },
];
