import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMMANDS } from '../../src/cli/program.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What no command stands for, and why. */
const NO_COMMAND: Record<string, string> = {
  'POST /v1/operations/{id}/wait': 'commands that wait follow the events, which tell more',
};

/** What the dashboard leaves to the command line and the API, and why. */
const NOT_IN_DASHBOARD: Record<string, string> = {
  'GET /v1/taskservs/{id}/kubeconfig':
    'a file for kubectl with a private key: it belongs on a command line, not into a page',
  'GET /health/live': 'asked by whoever runs the process, not by people',
  'GET /health/ready': 'asked by balancers',
  'GET /metrics': 'read by Prometheus',
  'GET /v1/metrics': 'the overview counts by the lists, which know what the caller may see',
  'GET /v1/orphans/{id}': 'the list has every field',
  'GET /v1/servers/{id}/status': 'a part of GET /v1/servers/{id}, for programs',
  'GET /v1/users/{id}': 'the list has every field',
  'GET /v1/workspaces/{name}/service-accounts': 'service accounts are for programs, whose setup is scripted',
  'POST /v1/workspaces/{name}/service-accounts': 'as above',
  'GET /v1/workspaces/{name}/service-accounts/{account}': 'as above',
  'PATCH /v1/workspaces/{name}/service-accounts/{account}': 'as above',
  'DELETE /v1/workspaces/{name}/service-accounts/{account}': 'as above',
  'GET /v1/workspaces/{name}/service-accounts/{account}/tokens': 'as above',
  'POST /v1/workspaces/{name}/service-accounts/{account}/tokens': 'as above',
  'GET /v1/auth/sso/{name}/start': 'where the button of the login page leads',
  'GET /v1/auth/sso/{name}/callback': 'where browsers come back to',
  'POST /v1/auth/sso/{name}/device': 'for programs without a browser',
  'POST /v1/auth/sso/device/token': 'as above',
  'POST /v1/auth/exchange': 'for jobs',
  'GET /v1/auth/providers': 'set up once, by whoever runs the server, with secrets that lie in files',
  'POST /v1/auth/providers': 'as above',
  'GET /v1/auth/providers/{name}': 'as above',
  'PATCH /v1/auth/providers/{name}': 'as above',
  'DELETE /v1/auth/providers/{name}': 'as above',
  'GET /v1/workspaces/{name}': 'the list has every field',
  'GET /v1/workspaces/{name}/secrets/{key}': 'the list has every field',
  'GET /v1/schedules/{id}': 'the list has every field',
  'GET /v1/audit/checkpoint': 'it is noted by programs, outside of the installation',
  'GET /v1/audit/export': 'for programs: the page shows the list',
};

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** Requests of the API's description. The live document itself is not in it. */
async function requestsOfApi(): Promise<string[]> {
  const { paths } = JSON.parse(await readFile(path.join(ROOT, 'openapi/openapi.json'), 'utf8')) as {
    paths: Record<string, Record<string, unknown>>;
  };
  return Object.entries(paths).flatMap(([route, methods]) =>
    Object.keys(methods)
      .filter((method) => METHODS.includes(method))
      .map((method) => `${method.toUpperCase()} ${route}`),
  );
}

/** What methods of the client stand for. */
const BY_METHOD: Record<string, string[]> = {
  login: ['POST /v1/auth/login'],
  signIn: ['POST /v1/auth/sso/token'],
  logout: ['POST /v1/auth/logout'],
  follow: ['GET /v1/operations/{id}/events'],
  feed: ['GET /v1/events'],
  wait: ['POST /v1/operations/{id}/wait'],
};

/** The requests that a program's source sends through the client library. */
async function requestsIn(directory: string): Promise<Set<string>> {
  const found = new Set<string>(['POST /v1/auth/refresh']);
  const files = await readdir(path.join(ROOT, directory), { recursive: true });
  for (const file of files.filter((name) => /\.tsx?$/.test(name))) {
    const source = await readFile(path.join(ROOT, directory, file), 'utf8');
    for (const [, method = '', route = ''] of source.matchAll(
      /\bclient\s*\.(get|post|put|patch|delete)\(\s*['"`]([^'"`]+)['"`]/g,
    ))
      for (const each of spelledOut(route)) found.add(`${method.toUpperCase()} ${each}`);
    for (const [, route = ''] of source.matchAll(/\b(?:list|page)\(\s*['"`](\/[^'"`]+)['"`]/g))
      found.add(`GET ${route}`);
    for (const [, route = ''] of source.matchAll(/\bLIST = '(\/v1[^']+)'/g)) found.add(`GET ${route}`);
    for (const [, route = ''] of source.matchAll(/\bpath[:=]\s*\{?['"](\/v1[^'"]+)['"]/g)) found.add(`GET ${route}`);
    for (const [, method = ''] of source.matchAll(/\bclient\s*\.(login|signIn|logout|follow|feed|wait)\(/g))
      for (const each of BY_METHOD[method] ?? []) found.add(each);
  }
  return found;
}

/** A template such as `/v1/servers/{id}/${verb}` stands for all that the API has in its place. */
function spelledOut(route: string): string[] {
  if (!route.includes('${')) return [route];
  const pattern = new RegExp(
    `^${route
      .replaceAll(/\$\{[^}]*\}/g, '@@')
      .replaceAll(/[.*+?^$(){}|[\]\\]/g, '\\$&')
      .replaceAll('@@', '[^/{}]+')}$`,
  );
  return api.map((request) => request.replace(/^\w+ /, '')).filter((each) => pattern.test(each));
}

const api = await requestsOfApi();

test('every request of the API has a command', () => {
  const covered = new Set(COMMANDS.flatMap(({ covers }) => covers));
  const missing = api.filter((request) => !covered.has(request) && NO_COMMAND[request] === undefined);
  assert.deepEqual(missing, [], 'give them a command, or an exception with its reason');
  const unknown = [...covered].filter((request) => !api.includes(request) && request !== 'GET /openapi.json');
  assert.deepEqual(unknown, [], 'commands for requests that do not exist');
});

test('every request of the API can be made in the dashboard', async () => {
  const sent = await requestsIn('dashboard/src');
  const missing = api.filter((request) => !sent.has(request) && NOT_IN_DASHBOARD[request] === undefined);
  assert.deepEqual(missing, [], 'give them a place in the dashboard, or an exception with its reason');
});

test('exceptions are about requests that exist', () => {
  for (const request of [...Object.keys(NO_COMMAND), ...Object.keys(NOT_IN_DASHBOARD)])
    assert.ok(api.includes(request), request);
});

test('every filter of a list is an option of its command', async () => {
  const { paths } = JSON.parse(await readFile(path.join(ROOT, 'openapi/openapi.json'), 'utf8')) as {
    paths: Record<string, { get?: { parameters?: { in: string; name: string }[] } }>;
  };
  const missing: string[] = [];
  for (const { name, covers, options = [] } of COMMANDS.filter((command) => command.name.endsWith('list'))) {
    const [, route = ''] = /^GET (.*)$/.exec(covers[0] ?? '') ?? [];
    for (const parameter of paths[route]?.get?.parameters ?? []) {
      if (parameter.in !== 'query' || ['page', 'per_page', 'cursor'].includes(parameter.name)) continue;
      const flag = `--${parameter.name.replaceAll('_', '-')} `;
      if (!options.some(({ flags }) => `${flags} `.includes(flag))) missing.push(`${name} ${flag}`);
    }
  }
  assert.deepEqual(missing, []);
});

test('every command teaches by an example that begins as it is called', () => {
  for (const { name, examples } of COMMANDS) {
    assert.ok(examples.length > 0, name);
    assert.ok(
      examples.some((example) => example.includes(`provisioning ${name}`)),
      `${name}: ${examples.join('; ')}`,
    );
  }
});

test('every command has --output, but for those whose text is not ours to change', () => {
  const plain = COMMANDS.filter((command) => command.plain !== undefined).map(({ name }) => name);
  assert.deepEqual(plain.sort(), ['api', 'audit export', 'cluster kubeconfig', 'completion', 'mcp', 'metrics']);
});
