/** A real server with the stand-ins of all three clouds, for tests of what users see of them. */
import { CLOUDS, type Cloud, type CloudSettings, startCloud } from '../clouds/all.ts';
import { expectOk, type Installation, type Server, startInstallation } from './acceptance.ts';
import { ended, type Operation } from './server.ts';

export interface CloudInstallation extends Installation {
  clouds: Cloud[];
  /** Asks for a server at a cloud. */
  create(cloud: Cloud, overrides?: Record<string, unknown>): Promise<Operation>;
  /** Deletes the server that an operation has made. @returns the operation, ended. */
  remove(made: Operation): Promise<Operation>;
  /** An operation's events, as text. */
  lines(id: string): Promise<string>;
  record(made: Operation): Promise<Server>;
}

/**
 * @param settings PROVISIONING_… without the prefix, besides what lets the server use the clouds.
 * @param cloudSettings of all three.
 */
export async function startCloudInstallation(
  settings: Record<string, string> = {},
  cloudSettings: CloudSettings = {},
): Promise<CloudInstallation> {
  const clouds = await Promise.all(CLOUDS.map((name) => startCloud(name, cloudSettings)));
  const installation = await startInstallation({
    PROVIDERS: `simulated,${CLOUDS.join(',')}`,
    ...Object.fromEntries(CLOUDS.map((name) => [`${name.toUpperCase()}_CALLS_PER_MINUTE`, '60000'])),
    ...Object.assign({}, ...clouds.map((cloud) => cloud.settings)),
    ...settings,
  });
  const { admin } = installation.server;
  const close = async () => {
    await installation.close();
    await Promise.all(clouds.map(({ fake }) => fake[Symbol.asyncDispose]()));
  };
  return {
    ...installation,
    clouds,
    close,
    [Symbol.asyncDispose]: close,
    create: async (cloud, overrides = {}) => {
      const body = { ...cloud.spec(), workspace: 'default', provider: cloud.name, ...overrides };
      return expectOk(await admin.request<Operation>('POST', '/v1/servers/create', body));
    },
    remove: async ({ result }) => {
      const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${result?.server_id}`));
      return ended(admin, id, 60);
    },
    lines: async (id) => JSON.stringify((await admin.request('GET', `/v1/operations/${id}/events`)).body),
    record: async ({ result }) =>
      expectOk(await admin.request<Server>('GET', `/v1/servers/${String(result?.server_id)}`)),
  };
}
