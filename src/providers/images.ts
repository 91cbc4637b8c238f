/** Neutral image names (`debian-12`, `ubuntu-24.04`) and what clouds call them. */
import { nearMatches } from '../util/near-matches.ts';

/** What a server is made from when nothing else is asked for. */
export const DEFAULT_IMAGE = 'debian-12';

const SYSTEMS = ['debian', 'ubuntu', 'almalinux', 'rocky', 'centos', 'fedora', 'opensuse'];

/**
 * The neutral name of an image by what a cloud calls it: `Debian GNU/Linux 12 (Bookworm)` is `debian-12`, `CentOS Stream 9`
 * is `centos-9`. Null for what is no plain operating system.
 */
export function neutralImageName(title: string): string | null {
  const words = title.toLowerCase();
  const system = SYSTEMS.find((name) => words.startsWith(name));
  const version = /\b(\d+(?:\.\d+)?)\b/.exec(words)?.[1];
  return system === undefined || version === undefined ? null : `${system}-${version}`;
}

/** The available names nearest to what was asked for; where none is near, the first ones. */
export function nearestImages(name: string, available: readonly string[]): string[] {
  const near = nearMatches(name, available);
  return near.length > 0 ? near : available.slice(0, 3);
}
