import { AWS_CONCURRENCY, createAwsProvider } from './aws/provider.ts';
import { leavesHostKeys } from './cloud-init.ts';
import type { CloudSettings } from './cloud-settings.ts';
import type { Provider } from './contract.ts';
import { createHetznerProvider, HETZNER_CONCURRENCY } from './hetzner/provider.ts';
import { createUpcloudProvider, UPCLOUD_CONCURRENCY } from './upcloud/provider.ts';

/** Credentials of an account, by field. */
export type Credentials = Readonly<Record<string, string>>;

/** A cloud at which workspaces may have accounts of their own. */
export interface CloudKind {
  name: string;
  /** Servers under change at once, over all accounts and replicas. */
  concurrency: number;
  /** The ways to log in: all fields of one of them are needed. */
  ways: readonly (readonly string[])[];
  /** Fields that may come along. */
  optional: readonly string[];
  /** The installation's own; null where it has none. */
  own: Credentials | null;
  /** Whether its servers get a host key that is made here, besides this user data (null: none). */
  takesHostKey(userData: string | null): boolean;
  /** @param credentials complete by `ways`. @throws Error saying what lacks besides. */
  open(credentials: Credentials): Provider;
}

/** @param installation the value of the installation label. @param wanted which clouds may be used at all. */
export function cloudKinds(
  settings: CloudSettings,
  installation: string,
  wanted: (name: string) => boolean,
): CloudKind[] {
  const { upcloud, hetzner, aws, timeoutMs } = settings;
  const kinds: CloudKind[] = [
    {
      ...{ name: 'upcloud', concurrency: UPCLOUD_CONCURRENCY, own: upcloud.credentials, optional: [] },
      ways: [['token'], ['username', 'password']],
      // It hands user data to cloud-init as one document.
      takesHostKey: (userData) => userData === null,
      open: ({ token, username = '', password = '' }) =>
        createUpcloudProvider({
          ...{ installation, timeoutMs, endpoint: upcloud.endpoint, limit: upcloud.limit },
          credentials: token === undefined ? { username, password } : { token },
        }),
    },
    {
      ...{ name: 'hetzner', concurrency: HETZNER_CONCURRENCY, own: hetzner.credentials, optional: [] },
      ways: [['token']],
      takesHostKey: leavesHostKeys,
      open: ({ token = '' }) => createHetznerProvider({ ...hetzner, installation, timeoutMs, credentials: { token } }),
    },
    {
      ...{ name: 'aws', concurrency: AWS_CONCURRENCY, own: aws.own },
      ways: [['access_key_id', 'secret_access_key']],
      takesHostKey: leavesHostKeys,
      optional: ['session_token', 'region'],
      open: ({ access_key_id: accessKeyId, secret_access_key: secretAccessKey = '', ...rest }) => {
        const region = rest.region ?? aws.region;
        if (region === null) throw new Error('region: it must be given, as none is set for this installation');
        const { session_token: sessionToken } = rest;
        const { endpoint, limit, securityGroups } = aws;
        return createAwsProvider({
          ...{ installation, timeoutMs, region, endpoint, limit, securityGroups },
          credentials: accessKeyId === undefined ? null : { accessKeyId, secretAccessKey, sessionToken },
        });
      },
    },
  ];
  return kinds.filter(({ name }) => wanted(name));
}
