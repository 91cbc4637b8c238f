import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Stands between two ends of a connection and passes their bytes on, until it is told to cut. */
export interface CutProxy extends AsyncDisposable {
  /** TCP port on 127.0.0.1; 0 where it listens on a socket. */
  port: number;
  /** Path of the socket it listens on; '' where it listens on a port. */
  socketPath: string;
  /** Cuts every connection there is, as a network would: both ends see a reset. */
  cut(): void;
  /** Stops passing bytes on, both ways, without closing anything; `false` lets them go on. */
  freeze(frozen: boolean): void;
  /** `refuse` cuts each new connection at once. */
  mode: 'pass' | 'refuse';
}

/** @param target where the real end is: a path, or a port (of 127.0.0.1). The proxy listens on the same sort of thing. */
export async function startCutProxy(target: { path: string } | { port: number; host?: string }): Promise<CutProxy> {
  const sockets = new Set<net.Socket>();
  let frozen = false;
  // Only TCP knows resets. A reset in the middle of a shutdown fails, and Node then waits for it in vain when it exits.
  const reset = (socket: net.Socket) =>
    'port' in target && !socket.writableEnded ? socket.resetAndDestroy() : socket.destroy();
  const server = net.createServer({ allowHalfOpen: true }, (near) => {
    sockets.add(near);
    near.on('close', () => sockets.delete(near)).on('error', () => near.destroy());
    if (proxy.mode === 'refuse') return reset(near);
    const far = net.connect({ ...('port' in target ? { host: '127.0.0.1' } : {}), ...target, allowHalfOpen: true });
    sockets.add(far);
    far.on('close', () => {
      sockets.delete(far);
      near.destroy();
    });
    far.on('error', () => near.destroy());
    near.on('close', () => far.destroy());
    near.on('data', (chunk) => far.write(chunk)).on('end', () => far.end());
    far.on('data', (chunk) => near.write(chunk)).on('end', () => near.end());
    if (frozen) {
      near.pause();
      far.pause();
    }
  });
  const directory = await mkdtemp(path.join(tmpdir(), 'cut-proxy-'));
  const socketPath = 'path' in target ? path.join(directory, 'socket') : '';
  server.listen(socketPath === '' ? { port: 0, host: '127.0.0.1' } : { path: socketPath });
  await once(server, 'listening');
  const address = server.address();
  const proxy: CutProxy = {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    socketPath,
    mode: 'pass',
    cut() {
      for (const socket of sockets) reset(socket);
    },
    freeze(now) {
      frozen = now;
      for (const socket of sockets) {
        if (now) socket.pause();
        else socket.resume();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
  return proxy;
}
