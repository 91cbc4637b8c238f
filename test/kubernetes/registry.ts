/** A registry of images and a vendor's mirror in one, on this machine. The images hold little more than a program each. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

const run = promisify(execFile);

/** A file that is served, by its digest ("sha256:…"). */
interface Blob {
  digest: string;
  file: string;
  size: number;
}

export interface Registry extends AsyncDisposable {
  /** As the hosts reach it. */
  url: string;
  /** Serves a file at this path, as a vendor's mirror does. @returns its SHA-256. */
  serve(path: string, file: string): Promise<string>;
  /**
   * Serves an image of these programs, which lie in /usr/local/bin there.
   * @param name as in "etcd:3.5.9-0", without the registry's.
   * @param programs files on this machine. @param below tars of what else it holds.
   */
  addImage(name: string, programs: readonly string[], options?: ImageOptions): Promise<void>;
  /** A file for what is to be served, removed at the end. */
  temporary(name: string): string;
}

export interface ImageOptions {
  entrypoint?: readonly string[];
  below?: readonly string[];
}

/** @param address of this machine, by which the hosts reach it. */
export async function startRegistry(address: string, architecture: string): Promise<Registry> {
  const folder = await mkdtemp(path.join(tmpdir(), 'kubernetes-registry-'));
  /** By path. */
  const served = new Map<string, Blob & { type: string }>();
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://registry');
    const found = served.get(pathname);
    if (found === undefined) {
      response.writeHead(pathname === '/v2/' ? 200 : 404, { 'content-type': 'application/json' }).end('{}');
      return;
    }
    void send(response, found, request.method === 'HEAD');
  });
  server.listen(0, address);
  await once(server, 'listening');
  const bound = server.address();
  if (typeof bound !== 'object' || bound === null) throw new Error('the registry has no port');

  let files = 0;
  const temporary = (name: string) => path.join(folder, `${++files}-${name}`);
  const put = async (name: string, content: object) => {
    const file = temporary(name);
    await writeFile(file, JSON.stringify(content));
    return blobOf(file);
  };
  return {
    url: `http://${address}:${bound.port}`,
    temporary,
    async serve(at, file) {
      const blob = await blobOf(file);
      served.set(at, { ...blob, type: 'application/octet-stream' });
      return blob.digest.replace('sha256:', '');
    },
    async addImage(name, programs, { entrypoint = [], below = [] } = {}) {
      const [repository, tag] = name.split(':');
      const own = temporary('layer.tar');
      const words = programs.flatMap((file) => ['-C', path.dirname(file), path.basename(file)]);
      await run('tar', ['--transform', 's,^,usr/local/bin/,', '-cf', own, ...words]);
      const layers = await Promise.all([...below, own].map(blobOf));
      const config = await put('config.json', {
        ...{ os: 'linux', architecture },
        config: { Env: ['PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Entrypoint: entrypoint },
        rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
      });
      const described = ({ digest, size }: Blob, mediaType: string) => ({ mediaType, digest, size });
      const manifest = await put('manifest.json', {
        ...{ schemaVersion: 2, mediaType: MANIFEST, config: described(config, CONFIG) },
        layers: layers.map((layer) => described(layer, LAYER)),
      });
      for (const reference of [tag, manifest.digest]) {
        served.set(`/v2/${repository}/manifests/${reference}`, { ...manifest, type: MANIFEST });
      }
      for (const blob of [config, ...layers]) {
        served.set(`/v2/${repository}/blobs/${blob.digest}`, { ...blob, type: 'application/octet-stream' });
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true });
    },
  };
}

async function blobOf(file: string): Promise<Blob> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return { file, digest: `sha256:${hash.digest('hex')}`, size: (await stat(file)).size };
}

/** Who asked may go away in between: that is for it to say. */
async function send(response: ServerResponse, { file, size, digest, type }: Blob & { type: string }, head: boolean) {
  response.writeHead(200, { 'content-type': type, 'content-length': size, 'docker-content-digest': digest });
  if (head) response.end();
  else await pipeline(createReadStream(file), response).catch(() => response.destroy());
}
