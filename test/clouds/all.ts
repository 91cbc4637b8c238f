/** The three stand-ins under one face, for what holds for all of them. */
import { randomBytes } from 'node:crypto';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import type { Provider, ServerSpec } from '../../src/providers/contract.ts';
import { createHetznerProvider } from '../../src/providers/hetzner/provider.ts';
import { createUpcloudProvider } from '../../src/providers/upcloud/provider.ts';
import { startFakeAws } from './aws.ts';
import type { Fake, FakeSettings } from './fake.ts';
import { startFakeHetzner } from './hetzner.ts';
import { startFakeUpcloud } from './upcloud.ts';

export interface CloudSettings extends FakeSettings {
  /** Milliseconds that each change takes to settle. */
  settleMs?: number;
}

/** What somebody does to a server in the cloud's own console. */
export interface Console {
  /** The provider's id. */
  ref: string;
  labels(): Record<string, string>;
  /** Null takes a label off. */
  relabel(labels: Record<string, string | null>): void;
  /** It is gone, with its disk, at once; `restore` brings that very server back. */
  remove(): { restore(): void };
  switchOff(): void;
  /** Gives it another size, by the cloud's own name for it. */
  resize(plan: string): void;
}

export interface Cloud {
  name: string;
  fake: Fake;
  zone: string;
  /** A provider that may make so many calls in so many seconds. */
  provider(limit: { calls: number; perSeconds: number }): Provider;
  /** Settings of a server that uses it, without the prefix. */
  settings: Record<string, string>;
  /** Ids of the operations whose servers are there; one entry a server. */
  alive(): string[];
  /** Disks that are there. */
  disks(): number;
  /** What the calls of a server's life look like at the cloud. */
  lines: { create: RegExp; look: RegExp; observe: RegExp; remove: RegExp };
  /** Creates are refused so; null: no more. `problem`: in UpCloud's newer shape. */
  refuse(refusal: { status: number; code: string; message: string; problem?: boolean } | null): void;
  /** Where launches that were accepted may end: they do so soon, until null is given. */
  endLaunches?(reason: { code: string; message: string } | null): void;
  /** Body of the request that gives a workspace this account. */
  credentials: Record<string, string>;
  /** What is accepted as credentials, by token or key id. */
  accepted: Set<string>;
  /** The same account under other credentials. */
  renewed(): { id: string; credentials: Record<string, string> };
  /** The server that an operation made, in words that all clouds have. */
  made(operationId: string): MadeServer | null;
  /** Creates that took effect, by operation. */
  created: ReadonlyMap<string, number>;
  /** Credentials, by a name for messages: they must show nowhere. */
  secrets: Record<string, string>;
  /** One-time passwords of the servers that are there. */
  passwords(): string[];
  spec(overrides?: Partial<ServerSpec>): ServerSpec;
  /** @throws where the operation has no server. */
  console(operation: string): Console;
}

export interface MadeServer {
  /** The cloud's own id of the image or template. */
  image: string;
  isPublic: boolean;
  userData: string;
  labels: Record<string, string>;
}

export const CLOUDS = ['upcloud', 'hetzner', 'aws'] as const;

export async function startCloud(name: (typeof CLOUDS)[number], settings: CloudSettings = {}): Promise<Cloud> {
  const { settleMs = 20 } = settings;
  const settle = { create: settleMs, stop: settleMs, start: settleMs, restart: settleMs, remove: settleMs };
  const base = { workspace: 'w', hostname: 'web-1', plan: '2xCPU-4GB', tags: [] };
  switch (name) {
    case 'upcloud': {
      const fake = await startFakeUpcloud({ ...settings, settle: { create: settleMs, stop: settleMs } });
      const { endpoint, token } = fake;
      return {
        ...{ name, fake, zone: 'de-fra1', created: fake.created, secrets: { 'token of UpCloud': token } },
        lines: {
          create: /^POST \/1\.3\/server$/,
          look: /^GET \/1\.3\/server\/\?label=provisioning-operation%3D/,
          observe: /^GET \/1\.3\/server\/\?label=provisioning-operation&/,
          remove: /^DELETE /,
        },
        ...accountOf(fake.accepted, { token }),
        refuse: (refusal) => {
          fake.refusing.creates = refusal;
        },
        made: (operationId) => {
          const server = [...fake.servers.values()].find(({ labels }) => operationOf(labels) === operationId);
          if (server === undefined) return null;
          const isPublic = server.addresses.some(({ access }) => access === 'public');
          const labels = Object.fromEntries(server.labels.map(({ key, value }) => [key, value]));
          return { image: server.template, isPublic, userData: server.userData ?? '', labels };
        },
        provider: (limit) => createUpcloudProvider({ endpoint, credentials: { token }, limit, installation: 'test' }),
        settings: { UPCLOUD_ENDPOINT: endpoint, UPCLOUD_TOKEN: token },
        alive: () => [...fake.servers.values()].map(({ labels }) => operationOf(labels)),
        disks: () => fake.storages.size,
        passwords: () => [...fake.servers.values()].map(({ password }) => password),
        spec: (overrides) => ({ ...base, zone: 'de-fra1', ...overrides }),
        console: (operation) => {
          const server = found([...fake.servers.values()].find(({ labels }) => operationOf(labels) === operation));
          const labels = () => Object.fromEntries(server.labels.map(({ key, value }) => [key, value]));
          return {
            ...{ ref: server.uuid, labels },
            relabel: (changes) => {
              server.labels = Object.entries(merged(labels(), changes)).map(([key, value]) => ({ key, value }));
            },
            remove: () => {
              fake.servers.delete(server.uuid);
              const disks = server.devices.flatMap(({ storage }) => fake.storages.get(storage) ?? []);
              for (const { uuid } of disks) fake.storages.delete(uuid);
              return {
                restore: () => {
                  fake.servers.set(server.uuid, server);
                  for (const disk of disks) fake.storages.set(disk.uuid, disk);
                },
              };
            },
            switchOff: () => {
              server.state = 'stopped';
            },
            resize: (plan) => {
              server.plan = plan;
            },
          };
        },
      };
    }
    case 'hetzner': {
      const fake = await startFakeHetzner({ ...settings, settle });
      const { endpoint, token } = fake;
      return {
        ...{ name, fake, zone: 'fsn1', created: fake.created, secrets: { 'token of Hetzner': token } },
        lines: {
          create: /^POST \/v1\/servers$/,
          look: /^GET \/v1\/servers\?label_selector=provisioning-operation%3D/,
          observe: /^GET \/v1\/servers\?label_selector=provisioning-operation&/,
          remove: /^DELETE /,
        },
        ...accountOf(fake.accepted, { token }),
        refuse: (refusal) => {
          fake.refusing.creates = refusal;
        },
        made: (operationId) => {
          const server = [...fake.servers.values()].find(
            ({ labels }) => labels['provisioning-operation'] === operationId,
          );
          if (server === undefined) return null;
          const { image, ipv4, userData, labels } = server;
          return { image: String(image), isPublic: ipv4 !== null, userData, labels };
        },
        provider: (limit) => createHetznerProvider({ endpoint, credentials: { token }, limit, installation: 'test' }),
        settings: { HETZNER_ENDPOINT: endpoint, HETZNER_TOKEN: token },
        alive: () => [...fake.servers.values()].map(({ labels }) => labels['provisioning-operation'] ?? ''),
        disks: () => fake.servers.size,
        passwords: () => [...fake.servers.values()].flatMap(({ rootPassword }) => rootPassword ?? []),
        spec: (overrides) => ({ ...base, zone: 'fsn1', ...overrides }),
        console: (operation) => {
          const server = found(
            [...fake.servers.values()].find(({ labels }) => labels['provisioning-operation'] === operation),
          );
          return {
            ...{ ref: String(server.id), labels: () => ({ ...server.labels }) },
            relabel: (changes) => {
              server.labels = merged(server.labels, changes);
            },
            remove: () => {
              fake.servers.delete(server.id);
              return { restore: () => fake.servers.set(server.id, server) };
            },
            switchOff: () => {
              server.status = 'off';
            },
            resize: (plan) => {
              server.type = plan;
            },
          };
        },
      };
    }
    case 'aws': {
      const fake = await startFakeAws({ ...settings, settle });
      const { endpoint, region, credentials } = fake;
      return {
        ...{ name, fake, zone: 'eu-central-1a', created: fake.created },
        lines: {
          create: /Action=RunInstances/,
          look: /Action=DescribeInstances.*tag%3Aprovisioning-operation/,
          observe: /Action=DescribeInstances.*tag-key/,
          remove: /Action=TerminateInstances/,
        },
        ...accountOf(fake.accepted, {
          access_key_id: credentials.accessKeyId,
          secret_access_key: credentials.secretAccessKey,
        }),
        refuse: (refusal) => {
          fake.refusing.creates = refusal;
        },
        endLaunches: (reason) => {
          fake.ending.launches = reason;
        },
        made: (operationId) => {
          const server = fake.alive().find(({ tags }) => tags.get('provisioning-operation') === operationId);
          if (server === undefined) return null;
          const { image, publicIp, userData, tags } = server;
          return { image, isPublic: publicIp !== null, userData, labels: Object.fromEntries(tags) };
        },
        secrets: { 'secret key of AWS': credentials.secretAccessKey },
        provider: (limit) =>
          createAwsProvider({ endpoint, region, credentials, limit, installation: 'test', securityGroups: [] }),
        settings: {
          AWS_ENDPOINT: endpoint,
          AWS_REGION: region,
          AWS_ACCESS_KEY_ID: credentials.accessKeyId,
          AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        },
        alive: () => fake.alive().map(({ tags }) => tags.get('provisioning-operation') ?? ''),
        disks: () => fake.volumes.size,
        passwords: () => [],
        spec: (overrides) => ({ ...base, zone: 'eu-central-1a', ...overrides }),
        console: (operation) => {
          const instance = found(fake.alive().find(({ tags }) => tags.get('provisioning-operation') === operation));
          return {
            ...{ ref: instance.id, labels: () => Object.fromEntries(instance.tags) },
            relabel: (changes) => {
              instance.tags = new Map(Object.entries(merged(Object.fromEntries(instance.tags), changes)));
            },
            remove: () => {
              fake.instances.delete(instance.id);
              fake.volumes.delete(instance.id);
              return {
                restore: () => {
                  fake.instances.set(instance.id, instance);
                  fake.volumes.add(instance.id);
                },
              };
            },
            switchOff: () => {
              instance.state = 'stopped';
            },
            resize: (plan) => {
              instance.type = plan;
            },
          };
        },
      };
    }
  }
}

/** Credentials of an account, and others for the same one: the first field is what the cloud knows them by. */
function accountOf(accepted: Set<string>, credentials: Record<string, string>) {
  const [first = ''] = Object.keys(credentials);
  return {
    accepted,
    credentials,
    renewed: () => {
      const id = `renewed-${randomBytes(12).toString('hex')}`;
      accepted.add(id);
      return { id, credentials: { ...credentials, [first]: id } };
    },
  };
}

function operationOf(labels: { key: string; value: string }[]): string {
  return labels.find(({ key }) => key === 'provisioning-operation')?.value ?? '';
}

function found<T>(server: T | undefined): T {
  if (server === undefined) throw new Error('the cloud has no such server');
  return server;
}

function merged(labels: Record<string, string>, changes: Record<string, string | null>): Record<string, string> {
  const all: [string, string | null][] = Object.entries({ ...labels, ...changes });
  return Object.fromEntries(all.filter((entry): entry is [string, string] => entry[1] !== null));
}
