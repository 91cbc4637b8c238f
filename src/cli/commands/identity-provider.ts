import type { Client, Schemas } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';
import { durationSeconds, readText } from './parameters.ts';
import { ROLES } from './roles.ts';
import { proofOf } from './totp.ts';

const NAME = { name: 'name', description: 'name of the identity provider' } as const;
const VIEW = {
  columns: [
    field('name'),
    field('title'),
    field('issuer'),
    field('enabled'),
    { heading: 'GROUPS', value: ({ group_roles: roles }: { group_roles: unknown[] }) => String(roles.length) },
    { heading: 'JOBS', value: ({ exchange }: { exchange: unknown[] }) => String(exchange.length) },
  ],
  name: 'name',
};
const OPTIONS = [
  { flags: '--title <text>', description: 'on the button of the login page (default: the name)' },
  { flags: '--client-id <id>', description: 'what the issuer calls this server; without one, jobs alone use it' },
  { flags: '--client-secret-file <file>', description: 'with the secret of the client' },
  { flags: '--scope <scope>', description: 'asked for at a login; may be given several times', repeatable: true },
  { flags: '--groups-claim <name>', description: 'where the groups are (default: groups)' },
  { flags: '--username-claim <name>', description: 'what users are called after (default: preferred_username)' },
  {
    flags: '--group-role <group=role[:workspace]>',
    description: 'what a group gives; may be given several times, and replaces all',
    repeatable: true,
  },
  {
    flags: '--exchange-file <file>',
    description: "JSON: the list of rules by which jobs' tokens are taken; replaces all",
  },
  {
    flags: '--device-login <yes|no>',
    description: 'whether command lines may sign in by a code for any device (default: no)',
  },
  {
    flags: '--require-acr <value>',
    description: 'the ID token must say one of these (acr); may be repeated',
    repeatable: true,
  },
  {
    flags: '--require-amr <value>',
    description: 'the ID token must say one of these (amr), such as mfa',
    repeatable: true,
  },
  { flags: '--recheck <duration>', description: 'how often the issuer is asked about a session, such as 1m (default)' },
  { flags: '--roles-hold <duration>', description: 'how long roles hold without that, such as 1d (default)' },
];

/** `platform=admin`, `devs=developer:staging`. The role is behind the last `=`. @throws UsageError */
function groupRoles(options: OptionValues) {
  return texts(options, 'groupRole')?.map((line) => {
    const [, group = '', name, workspace] = /^(.+)=([a-z]+)(?::([^:=]+))?$/.exec(line) ?? [];
    const role = ROLES.find((known) => known === name);
    if (role === undefined) {
      throw new UsageError(
        `--group-role ${line}: give group=role or group=role:workspace; roles are ${ROLES.join(', ')}.`,
      );
    }
    return { group, role, workspace: workspace ?? null };
  });
}

type Rules = Schemas['NewExchangeRule'][];

async function rulesFrom(file: string | undefined): Promise<Rules | undefined> {
  if (file === undefined) return undefined;
  try {
    // The server says what is wrong about them.
    return JSON.parse(await readText(file, '--exchange-file')) as Rules;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(`--exchange-file ${file}: this is no JSON: ${error.message}`);
  }
}

/** @throws UsageError */
function yesOrNo(given: string | undefined): boolean | undefined {
  if (given === undefined) return undefined;
  if (given !== 'yes' && given !== 'no') throw new UsageError(`--device-login ${given}: give yes or no.`);
  return given === 'yes';
}

async function settingsOf(options: OptionValues) {
  const secretFile = text(options, 'clientSecretFile');
  const duration = (flag: string, name: string) => {
    const value = text(options, name);
    return value === undefined ? undefined : durationSeconds(flag, value);
  };
  return given({
    title: text(options, 'title'),
    client_id: text(options, 'clientId'),
    client_secret:
      secretFile === undefined ? undefined : (await readText(secretFile, '--client-secret-file')).replace(/\r?\n$/, ''),
    scopes: texts(options, 'scope'),
    groups_claim: text(options, 'groupsClaim'),
    username_claim: text(options, 'usernameClaim'),
    group_roles: groupRoles(options),
    exchange: await rulesFrom(text(options, 'exchangeFile')),
    device_login: yesOrNo(text(options, 'deviceLogin')),
    required_acr: texts(options, 'requireAcr'),
    required_amr: texts(options, 'requireAmr'),
    recheck_seconds: duration('--recheck', 'recheck'),
    roles_hold_seconds: duration('--roles-hold', 'rolesHold'),
  });
}

const PASSWORD_STDIN = {
  flags: '--password-stdin',
  description: 'where your own password is asked for, read it and a code from lines of standard input',
};

/** Whether a change decides who gets in, otherwise than by letting nobody: as the server sees it. */
function letsSomebodyIn(change: Awaited<ReturnType<typeof settingsOf>> & { enabled?: boolean | undefined }): boolean {
  const { group_roles: groups = [], exchange = [], client_id: clientId, enabled, device_login: device } = change;
  const others = [change.groups_claim, change.required_acr, change.required_amr, change.roles_hold_seconds];
  return (
    groups.length > 0 ||
    exchange.length > 0 ||
    clientId !== undefined ||
    enabled === true ||
    device === true ||
    others.some((value) => value !== undefined)
  );
}

/** The own password and a code, where they are asked for: also where groups have the role admin in every workspace. */
async function proofFor(
  session: Session,
  client: Client,
  options: OptionValues,
  decides: boolean,
  roles: readonly { role: string; workspace?: string | null }[],
) {
  const administers = roles.some(({ role, workspace = null }) => role === 'admin' && workspace === null);
  if (!decides && !administers) return undefined;
  const lines =
    options.passwordStdin === true ? (await session.terminal.readAll()).trimEnd().split(/\r?\n/) : undefined;
  return proofOf(session, client, lines);
}

/** Who vouches for users and jobs. */
export const identityProviderCommands: readonly CommandDefinition[] = [
  {
    name: 'identity-provider list',
    summary: 'show the identity providers (never their secrets)',
    examples: ['provisioning identity-provider list'],
    covers: ['GET /v1/auth/providers'],
    async run(session) {
      session.rows(await (await session.client()).get('/v1/auth/providers'), VIEW);
    },
  },
  {
    name: 'identity-provider show',
    summary: 'show one identity provider: what its groups give, and which jobs it vouches for',
    examples: ['provisioning identity-provider show keycloak -o yaml'],
    arguments: [NAME],
    covers: ['GET /v1/auth/providers/{name}'],
    async run(session, [name = '']) {
      session.record(await (await session.client()).get('/v1/auth/providers/{name}', { path: { name } }), VIEW);
    },
  },
  {
    name: 'identity-provider create',
    summary: 'let an issuer of OpenID Connect vouch for users, or for jobs',
    description: `At the issuer, allow the redirect URI <server>/v1/auth/sso/<name>/callback. Where it lets
anybody in, it takes your own password as well, and a code where your logins ask for one.`,
    examples: [
      'provisioning identity-provider create keycloak --issuer https://id.example/realms/main --client-id provisioning --client-secret-file ./secret --group-role platform=admin --group-role devs=developer:staging',
      'provisioning identity-provider create github --issuer https://token.actions.githubusercontent.com --exchange-file ./rules.json',
    ],
    arguments: [NAME],
    options: [
      { flags: '--issuer <url>', description: 'as the issuer writes itself (iss)', required: true },
      ...OPTIONS,
      PASSWORD_STDIN,
    ],
    covers: ['POST /v1/auth/providers'],
    async run(session, [name = ''], options) {
      const settings = await settingsOf(options);
      const client = await session.client();
      const proof = await proofFor(session, client, options, letsSomebodyIn(settings), []);
      const body = { name, issuer: text(options, 'issuer') ?? '', ...settings, ...given({ proof }) };
      session.record(await client.post('/v1/auth/providers', { body }), VIEW);
    },
  },
  {
    name: 'identity-provider update',
    summary: 'change an identity provider, or switch it off',
    description: `What changes about the roles of its users is carried out at once. What may let somebody in takes
your own password as well, and so does any change of one by which groups have the role admin in every workspace.`,
    examples: [
      'provisioning identity-provider update keycloak --group-role platform=admin',
      'provisioning identity-provider update keycloak --disable',
    ],
    arguments: [NAME],
    options: [
      ...OPTIONS,
      { flags: '--disable', description: 'let nobody in by it; its sessions end, its users have no roles' },
      { flags: '--enable', description: 'let people in by it again' },
      PASSWORD_STDIN,
    ],
    covers: ['PATCH /v1/auth/providers/{name}'],
    async run(session, [name = ''], options) {
      const enabled = options.disable === true ? false : options.enable === true ? true : undefined;
      const change = { ...(await settingsOf(options)), ...given({ enabled }) };
      if (Object.keys(change).length === 0) throw new UsageError('Give what is to change: --group-role, --disable …');
      const client = await session.client();
      const before = await client.get('/v1/auth/providers/{name}', { path: { name } });
      const { enabled: on, client_id: clientId, group_roles: roles } = { ...before, ...change };
      const proof = await proofFor(
        session,
        client,
        options,
        letsSomebodyIn(change),
        on && clientId !== null ? roles : [],
      );
      const body = { ...change, ...given({ proof }) };
      session.record(await client.patch('/v1/auth/providers/{name}', { path: { name }, body }), VIEW);
    },
  },
  {
    name: 'identity-provider delete',
    summary: 'forget an identity provider; its sessions end, its users have no roles',
    examples: ['provisioning identity-provider delete keycloak --yes'],
    arguments: [NAME],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
    covers: ['DELETE /v1/auth/providers/{name}'],
    async run(session, [name = '']) {
      await session.confirm(`Delete the identity provider ${name}?`);
      await (await session.client()).delete('/v1/auth/providers/{name}', { path: { name } });
      session.done(`The identity provider ${name} is deleted.`, { name, deleted: true }, VIEW);
    },
  },
];
