/** Disks of the stand-in for UpCloud: made, attached, detached, backed up and deleted, with or without a server. */
import { randomUUID } from 'node:crypto';
import type { FakeReply, FakeRequest } from './fake.ts';

export interface FakeStorage {
  uuid: string;
  title: string;
  size: number;
  zone: string;
  tier: string;
  type: 'normal' | 'backup';
  /** What it is a backup of. */
  origin: string | null;
  labels: { key: string; value: string }[];
}

/** A storage as it is attached. */
export interface FakeDevice {
  storage: string;
  address: string;
  type: string;
}

interface State {
  servers: ReadonlyMap<string, { devices: FakeDevice[] }>;
  storages: Map<string, FakeStorage>;
}

export function ok(body: unknown, status = 200): FakeReply {
  return { status, body };
}

export function refusal(status: number, code: string, message: string): FakeReply {
  return { status, body: { error: { error_code: code, error_message: message } } };
}

/** The newer shape, under the media type of its own or the usual one. */
export function problem(status: number, code: string, title: string): FakeReply {
  const body = {
    correlation_id: randomUUID(),
    status,
    title,
    type: `https://developers.upcloud.com/1.3/errors#ERROR_${code}`,
  };
  return { status, body, contentType: 'application/problem+json' };
}

// biome-ignore lint/suspicious/noExplicitAny: a part of a request body
export function newStorage({ title, size, zone, tier = 'maxiops', labels = [] }: any, uuid = newUuid()): FakeStorage {
  return { uuid, title, size: Number(size), zone, tier, type: 'normal', origin: null, labels };
}

function newUuid(): string {
  return `01${randomUUID().slice(2)}`;
}

export function deviceRow({ storage, address, type }: FakeDevice, found: FakeStorage | undefined) {
  return {
    ...{ address, boot_disk: '0', labels: found?.labels ?? [], part_of_plan: 'no', storage, type },
    ...{ storage_encrypted: 'no', storage_size: found?.size, storage_tier: found?.tier, storage_title: found?.title },
  };
}

function storageRow({ uuid, title, size, zone, tier, type, origin, labels }: FakeStorage) {
  return {
    ...{ access: 'private', created: '2026-01-01T00:00:00Z', encrypted: 'no', license: 0, state: 'online' },
    ...{ uuid, title, size, zone, tier, type, labels, ...(origin === null ? {} : { origin }) },
  };
}

function detailed(state: State, storage: FakeStorage) {
  const servers = [...state.servers].filter(([, { devices }]) => devices.some((each) => each.storage === storage.uuid));
  const backups = [...state.storages.values()].filter(({ origin }) => origin === storage.uuid);
  return {
    ...storageRow(storage),
    backups: { backup: backups.map(({ uuid }) => uuid) },
    servers: { server: servers.map(([uuid]) => uuid) },
  };
}

/** Everything under `/1.3/storage` but the templates. */
export function answerStorage(state: State, { method, query, text }: FakeRequest, path: string): FakeReply {
  const [, name = '', action] = /^\/1\.3\/storage(?:\/([^/]+)(?:\/(backup))?)?$/.exec(path) ?? [];
  if (method === 'GET' && ['', 'normal', 'private', 'backup'].includes(name)) {
    return listStorages(state, name, query.getAll('label'));
  }
  if (method === 'POST' && name === '') {
    const storage = newStorage(JSON.parse(text).storage);
    state.storages.set(storage.uuid, storage);
    return ok({ storage: detailed(state, storage) }, 201);
  }
  const storage = state.storages.get(name);
  if (storage === undefined) return refusal(404, 'STORAGE_NOT_FOUND', `The storage ${name} does not exist.`);
  if (method === 'GET') return ok({ storage: detailed(state, storage) });
  if (method === 'POST' && action === 'backup') {
    const backup: FakeStorage = { ...newStorage({ ...storage, ...JSON.parse(text).storage }), type: 'backup' };
    state.storages.set(backup.uuid, { ...backup, origin: storage.uuid });
    return ok({ storage: storageRow({ ...backup, origin: storage.uuid }) }, 201);
  }
  if (method === 'PUT') {
    Object.assign(storage, JSON.parse(text).storage);
    return ok({ storage: detailed(state, storage) }, 202);
  }
  if (method !== 'DELETE') return refusal(405, 'METHOD_NOT_ALLOWED', `${method} is not allowed here.`);
  if ([...state.servers.values()].some(({ devices }) => devices.some((each) => each.storage === storage.uuid))) {
    return refusal(409, 'STORAGE_ATTACHED', `The storage ${name} is attached to a server.`);
  }
  state.storages.delete(storage.uuid);
  return { status: 204 };
}

function listStorages(state: State, name: string, labels: string[]): FakeReply {
  const type = name === 'private' ? '' : name;
  const found = [...state.storages.values()].filter(
    (storage) =>
      (type === '' || storage.type === type) &&
      labels.every((label) => storage.labels.some(({ key, value }) => label === key || label === `${key}=${value}`)),
  );
  return ok({ storages: { storage: found.map(storageRow) } });
}

/** Attaches a storage to a server, or detaches it. @returns what speaks against it; null: it is done. */
export function attach(
  state: State,
  server: { devices: FakeDevice[]; state: string },
  action: string,
  text: string,
): FakeReply | null {
  const { storage, address, type = 'disk' } = JSON.parse(text).storage_device;
  if (action === 'storage/detach') {
    if (!server.devices.some((device) => device.address === address)) {
      return refusal(409, 'DEVICE_ADDRESS_NOT_IN_USE', `Nothing is attached at ${address}.`);
    }
    server.devices = server.devices.filter((device) => device.address !== address);
    return null;
  }
  if (!state.storages.has(storage)) return refusal(404, 'STORAGE_NOT_FOUND', `The storage ${storage} does not exist.`);
  if ([...state.servers.values()].some(({ devices }) => devices.some((device) => device.storage === storage))) {
    return refusal(409, 'STORAGE_ATTACHED_AS_DISK', `The storage ${storage} is attached already.`);
  }
  const free = [0, 1, 2, 3, 4, 5, 6, 7].map((place) => `virtio:${place}`);
  const taken = server.devices.map((device) => device.address);
  server.devices.push({ storage, type, address: address ?? free.find((place) => !taken.includes(place)) ?? '' });
  return null;
}
