/**
 * Stack traces of the bundle (src/start.ts) that name the sources. Node's --enable-source-maps reads every map at the
 * start, which costs a quarter of a second and 100 MB; and the engine's library takes traces only to look at them. So a
 * trace is translated where it is printed.
 */
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const FRAME = /(file:\/\/[^\s()]+\.js):(\d+):(\d+)/g;

const maps = new Map<string, SourceMap | null>();

/** The same trace, with places in the sources for places in the bundle. Started from the sources, it stays as it is. */
export function nameSources(trace: string): string {
  return trace.replace(FRAME, (place: string, url: string, line: string, column: string) => {
    const file = fileURLToPath(url);
    if (path.dirname(file) !== import.meta.dirname) return place;
    const origin = mapOf(file)?.findOrigin(Number(line), Number(column));
    if (origin === undefined || !('fileName' in origin)) return place;
    const source = fileURLToPath(new URL(origin.fileName, pathToFileURL(file)));
    return `${source}:${origin.lineNumber}:${origin.columnNumber}`;
  });
}

function mapOf(file: string): SourceMap | null {
  let map = maps.get(file);
  if (map === undefined) {
    map = existsSync(`${file}.map`) ? new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8'))) : null;
    maps.set(file, map);
  }
  return map;
}
