/** Deleting servers at UpCloud: with the disk that was made for them, and with nothing else that is attached. */
import type { CloudHttp } from '../cloud-http.ts';
import { type MutationOptions, type Provider, ProviderError } from '../contract.ts';
import { untilObserved } from '../observer.ts';
import { fields, text } from '../wire.ts';
import { readOne } from './listing.ts';
import { busy, isCode, stopAtOnce } from './power.ts';
import { type Disk, ownDisk } from './servers.ts';

/** A server must be stopped before it can be deleted: how long to wait for that within one call. */
const STOP_WAIT_MS = 120_000;

/** Stops the server, waits for that, and deletes it with its disk. UpCloud deletes nothing that runs. */
export async function deleteServer(
  http: CloudHttp,
  provider: Provider,
  ref: string,
  options: MutationOptions,
): Promise<void> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(busy(ref, 'it has not stopped yet')), STOP_WAIT_MS);
  const signal = AbortSignal.any([late.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    // The list is shared with all others who wait: a hundred deletions at once look as often as one.
    let server = await untilObserved(provider, ref, () => true, signal, options);
    for (;;) {
      const status = server?.status ?? 'deleting';
      if (status === 'deleting') return;
      if (status === 'stopped' || status === 'error') return await remove(http, ref, status, options);
      if (status === 'running') await stopAtOnce(http, ref, options);
      server = await untilObserved(provider, ref, (now) => now?.status !== status, signal, options);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** UpCloud deletes all disks that are attached, or none: what is not the server's own is detached first, and stays. */
async function remove(http: CloudHttp, ref: string, state: string, options: MutationOptions): Promise<void> {
  const server = await readOne(http, ref, options);
  if (server === null) return;
  const own = ownDisk(server);
  const others = server.disks.filter((disk) => disk !== own);
  const path = `/1.3/server/${encodeURIComponent(ref)}`;
  try {
    // What stays is told first: a later try may not see it any more.
    for (const disk of others) {
      options.onNotice?.(
        `The disk ${disk.uuid} ("${disk.title}") was not made with the server: it stays at UpCloud, and costs what it did.`,
      );
      if (own !== undefined) await detach(http, path, disk, options);
    }
    for (const backup of own === undefined ? [] : await backupsOf(http, own, options)) {
      options.onNotice?.(`The backup ${backup} of the server's disk stays at UpCloud, and costs what it did.`);
    }
    const disks = own === undefined ? '' : '/?storages=1&backups=keep';
    await http.change('delete the server', 'DELETE', `${path}${disks}`, undefined, options);
  } catch (error) {
    if (isCode(error, 'CONFLICT')) throw busy(ref, state);
    // Another deletion came first: the server, or a disk that went with it, is there no more.
    const missing = error instanceof ProviderError && error.details?.status === 404;
    if (!missing || (await readOne(http, ref, options)) !== null) throw error;
  }
}

/** UUIDs of what was backed up of a disk. */
async function backupsOf(http: CloudHttp, { uuid }: Disk, options: MutationOptions): Promise<string[]> {
  const path = `/1.3/storage/${encodeURIComponent(uuid)}`;
  const { backup } = fields(fields(fields(await http.read('look at a disk', path, options)).storage).backups);
  return Array.isArray(backup) ? backup.flatMap((each) => text(each) ?? []) : [];
}

async function detach(http: CloudHttp, path: string, { address }: Disk, options: MutationOptions): Promise<void> {
  const body = { storage_device: { address } };
  await http.change('detach a disk', 'POST', `${path}/storage/detach`, body, options);
}
