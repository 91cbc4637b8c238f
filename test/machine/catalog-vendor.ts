/** Stand-ins for what vendors publish and for what needs another kernel: programs that write down how they are called. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Host } from './catalog-host.ts';

const RECORD = '/run/recorded';

/** A program that writes down its name and arguments, a line each call, and then does what `body` (POSIX shell) says. */
export function recorder(body = ''): string {
  return `#!/bin/sh
{ printf '%s' "\${0##*/}"; for word in "$@"; do printf ' [%s]' "$word"; done; printf '\\n'; } >>${RECORD}
${body}
`;
}

/** Puts a recorder before a program of the host, which it may still call as "$REAL". */
export async function replace(host: Host, program: string, body = ''): Promise<void> {
  await host.put(`/usr/local/bin/${program}`, recorder(`REAL=/usr/bin/${program}\n${body}`), '0755');
}

/** What was called since the last time, in order; calls for which `leaveOut` holds are not told. Once called, other users' calls are written down too. */
export async function recorded(host: Host, leaveOut: RegExp = /^$/): Promise<string[]> {
  const text = await host.run(['sh', '-c', `cat ${RECORD} 2>/dev/null; : >${RECORD}; chmod 0666 ${RECORD}`]);
  return text.split('\n').filter((line) => line !== '' && !leaveOut.test(line));
}

/** A vendor's download server on this machine. */
export interface Mirror extends AsyncDisposable {
  /** As a host reaches it. */
  url(host: Host): string;
  add(file: string, content: string | Buffer): string;
  /** Paths that were asked for. */
  asked: string[];
}

export async function startMirror(): Promise<Mirror> {
  const files = new Map<string, Buffer>();
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const file = request.url ?? '';
    asked.push(file);
    const content = files.get(file);
    response.writeHead(content === undefined ? 404 : 200).end(content);
  });
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the mirror has no port');
  return {
    asked,
    url: (host) => `http://${host.gateway}:${address.port}`,
    /** @returns its SHA-256 */
    add(file, content) {
      const bytes = Buffer.from(content);
      files.set(file, bytes);
      return createHash('sha256').update(bytes).digest('hex');
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A gzipped tar of programs. */
export async function archive(programs: Record<string, string>): Promise<Buffer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'catalog-archive-'));
  try {
    for (const [name, text] of Object.entries(programs)) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
      await writeFile(path.join(folder, name), text, { mode: 0o755 });
    }
    const { status, stderr } = spawnSync('tar', ['-C', folder, '-czf', 'all.tgz', ...Object.keys(programs)], {
      cwd: folder,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`tar: ${stderr}`);
    return await readFile(path.join(folder, 'all.tgz'));
  } finally {
    await rm(folder, { recursive: true });
  }
}
