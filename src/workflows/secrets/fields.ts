import { loadCatalog } from '../../catalog/catalog.ts';
import type { Queryable } from '../../database/pool.ts';
import type { JsonObject } from '../../documents/json.ts';
import { isTaskservId, readTaskservPlace } from '../../taskservs/store.ts';
import type { SecretFields } from './places.ts';

/** What the taskservs of a workspace keep secret. @param nodes the fields of those that will be asked for. */
export async function secretFieldsIn(
  db: Queryable,
  { name: workspace, directory }: { name: string; directory: string | null },
  nodes: readonly JsonObject[],
): Promise<SecretFields> {
  const { definitions } = await loadCatalog(directory);
  const byTaskserv = new Map<string, string>();
  for (const { taskserv } of nodes) {
    if (typeof taskserv !== 'string' || !isTaskservId(taskserv) || byTaskserv.has(taskserv)) continue;
    const place = await readTaskservPlace(db, taskserv);
    if (place?.workspace === workspace) byTaskserv.set(taskserv, place.name);
  }
  const named = new Map(
    [...definitions].map(([name, { config }]) => [
      name,
      new Set(Object.keys(config).filter((field) => config[field]?.secret === true)),
    ]),
  );
  const all = new Set([...named.values()].flatMap((fields) => [...fields]));
  return ({ name, taskserv }) => {
    const which = typeof taskserv === 'string' ? (byTaskserv.get(taskserv) ?? taskserv) : name;
    return named.get(String(which)) ?? all;
  };
}
