import type { RateLimit } from './account.ts';
import type { AwsSettings } from './aws/client.ts';

/** What a cloud provider needs besides credentials. */
interface CloudPlace {
  /** Scheme, host and port of the API. */
  endpoint: string;
  /** Calls that this process may make with one account. */
  limit: RateLimit;
}

export interface CloudSettings {
  /** How long one answer of a cloud may take. Milliseconds. */
  timeoutMs: number;
  upcloud: CloudPlace & { credentials: UpcloudCredentials | null };
  aws: Pick<AwsSettings, 'endpoint' | 'limit' | 'securityGroups'> & {
    /** Null where none is set. */
    region: string | null;
    /** Access key by field; without fields: what the SDK finds by itself; null where no region is set. */
    own: Record<string, string> | null;
  };
  hetzner: CloudPlace & { credentials: { token: string } | null };
}

/** What AWS calls its regions: `eu-central-1`, `us-gov-west-1`, `eusc-de-east-1`. */
export const AWS_REGION = '^[a-z]{2,8}(-[a-z]+)+-[0-9]{1,2}$';

type UpcloudCredentials = { token: string } | { username: string; password: string };

/** Setting names, without the common prefix. */
export const CLOUD_SETTING_NAMES = [
  'CLOUD_TIMEOUT_SECONDS',
  'UPCLOUD_ENDPOINT',
  'UPCLOUD_TOKEN',
  'UPCLOUD_USERNAME',
  'UPCLOUD_PASSWORD',
  'UPCLOUD_CALLS_PER_MINUTE',
  'AWS_REGION',
  'AWS_ENDPOINT',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_SECURITY_GROUPS',
  'AWS_CALLS_PER_MINUTE',
  'HETZNER_ENDPOINT',
  'HETZNER_TOKEN',
  'HETZNER_CALLS_PER_MINUTE',
] as const;

type Values = (name: (typeof CLOUD_SETTING_NAMES)[number]) => string | undefined;

/** @throws Error that begins with the setting's name and never shows a credential. */
export function readCloudSettings(value: Values): CloudSettings {
  return {
    // Clouds answer a create within some seconds; past this the connection is half open.
    timeoutMs: whole(value, 'CLOUD_TIMEOUT_SECONDS', 30, 600) * 1_000,
    upcloud: {
      endpoint: endpoint(value, 'UPCLOUD_ENDPOINT', 'https://api.upcloud.com'),
      limit: { calls: calls(value, 'UPCLOUD_CALLS_PER_MINUTE', 300), perSeconds: 60 },
      credentials: upcloudCredentials(value),
    },
    aws: awsSettings(value),
    hetzner: {
      endpoint: endpoint(value, 'HETZNER_ENDPOINT', 'https://api.hetzner.cloud'),
      limit: { calls: calls(value, 'HETZNER_CALLS_PER_MINUTE', 60), perSeconds: 60 },
      credentials: token(value, 'HETZNER_TOKEN'),
    },
  };
}

function awsSettings(value: Values): CloudSettings['aws'] {
  const region = value('AWS_REGION') || null;
  const id = value('AWS_ACCESS_KEY_ID') ?? '';
  const secret = value('AWS_SECRET_ACCESS_KEY') ?? '';
  const session = value('AWS_SESSION_TOKEN') ?? '';
  if ((id === '') !== (secret === '')) {
    throw new Error('AWS_ACCESS_KEY_ID and PROVISIONING_AWS_SECRET_ACCESS_KEY must be set together.');
  }
  if (region === null && id !== '') {
    throw new Error('AWS_REGION must be set with the access key: "eu-central-1", for example.');
  }
  if (region !== null && !new RegExp(AWS_REGION).test(region)) {
    throw new Error(`AWS_REGION must look like "eu-central-1", not "${region}".`);
  }
  const key: Record<string, string> =
    id === ''
      ? {}
      : {
          access_key_id: headerSafe('AWS_ACCESS_KEY_ID', id),
          secret_access_key: headerSafe('AWS_SECRET_ACCESS_KEY', secret),
          ...(session === '' ? {} : { session_token: headerSafe('AWS_SESSION_TOKEN', session) }),
        };
  return {
    region,
    endpoint: value('AWS_ENDPOINT') === undefined ? null : endpoint(value, 'AWS_ENDPOINT', 'https://ec2.example.com'),
    own: region === null ? null : key,
    securityGroups: (value('AWS_SECURITY_GROUPS') ?? '')
      .split(',')
      .map((group) => group.trim())
      .filter((group) => group !== ''),
    limit: { calls: calls(value, 'AWS_CALLS_PER_MINUTE', 300), perSeconds: 60 },
  };
}

function token(value: Values, name: Parameters<Values>[0]): { token: string } | null {
  const text = value(name) ?? '';
  return text === '' ? null : { token: headerSafe(name, text) };
}

function upcloudCredentials(value: Values): UpcloudCredentials | null {
  const token = value('UPCLOUD_TOKEN') ?? '';
  const username = value('UPCLOUD_USERNAME') ?? '';
  const password = value('UPCLOUD_PASSWORD') ?? '';
  if (token !== '') return { token: headerSafe('UPCLOUD_TOKEN', token) };
  if (username === '' && password === '') return null;
  if (username === '') throw new Error('UPCLOUD_USERNAME must be set when UPCLOUD_PASSWORD is.');
  if (password === '') throw new Error('UPCLOUD_PASSWORD must be set when UPCLOUD_USERNAME is.');
  return { username, password };
}

/** A credential goes into a header: a line break in it would be refused later with the credential in the message. */
function headerSafe(name: string, credential: string): string {
  if (!/^[\x21-\x7e]+$/.test(credential)) {
    throw new Error(`${name} has characters that no token has (a space or a line break at its end?).`);
  }
  return credential;
}

function endpoint(value: Values, name: Parameters<Values>[0], fallback: string): string {
  const text = value(name) ?? fallback;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new Error(`${name} must look like ${fallback}, without user name and password.`);
  }
  return text.replace(/\/+$/, '');
}

function calls(value: Values, name: Parameters<Values>[0], fallback: number): number {
  return whole(value, name, fallback, 1_000_000);
}

function whole(value: Values, name: Parameters<Values>[0], fallback: number, most: number): number {
  const text = value(name);
  if (text === undefined) return fallback;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < 1 || number > most) {
    throw new Error(`${name} must be a whole number from 1 to ${most}, not "${text}".`);
  }
  return number;
}
