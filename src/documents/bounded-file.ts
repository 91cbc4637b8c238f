import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import path from 'node:path';

/** A file's text, or why it cannot be used, as a sentence about it without a subject. */
export type BoundedText = { text: string } | { problem: string; missing?: true };

/**
 * Reads a regular UTF-8 file of at most `limit` bytes that lies in `root` after all links are resolved. Never waits on a
 * pipe or a device, never reads more than the limit, throws nothing.
 * @param root with its own links resolved
 */
export async function readBounded(file: string, root: string, limit: number): Promise<BoundedText> {
  try {
    const real = await realpath(file);
    if (!isInside(root, real)) return { problem: 'leads out of the folder that it must lie in' };
    // O_NOFOLLOW: the last component is no link any more; one that appears meanwhile is refused.
    const handle = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!(await handle.stat()).isFile()) return { problem: 'is not a regular file' };
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(limit + 1), 0, limit + 1, 0);
      if (bytesRead > limit) return { problem: `must have at most ${limit} bytes` };
      return decode(buffer.subarray(0, bytesRead));
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return { problem: 'is missing', missing: true };
    return { problem: `cannot be read (${code})` };
  }
}

/** Whether the path lies below the root. Links of both are resolved. */
export function isInside(root: string, file: string): boolean {
  const relative = path.relative(root, file);
  return relative !== '' && relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

function decode(bytes: Buffer): BoundedText {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? { problem: 'contains a NUL character' } : { text };
  } catch {
    return { problem: 'is not UTF-8 text' };
  }
}
