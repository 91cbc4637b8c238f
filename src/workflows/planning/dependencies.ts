import type { Json } from '../../documents/json.ts';
import type { Problems } from '../../documents/problems.ts';
import type { Edge } from './graph.ts';
import { operationsIn } from './static.ts';
import type { StepSource } from './steps.ts';

/**
 * What each step waits for: the steps it names, and those whose results its expressions read (hard, unless it names
 * them as soft).
 */
export function addDependencies(steps: readonly StepSource[], problems: Problems): Edge[] {
  const ids = steps.map(({ fields }) => fields.id);
  const known = new Set(ids);
  const edges: Edge[] = [];
  for (const { fields, path } of steps) {
    const types = new Map<string, 'hard' | 'soft'>();
    for (const [n, entry] of (fields.depends_on ?? []).entries()) {
      const dependency = typeof entry === 'string' ? { id: entry, type: 'hard' as const } : entry;
      if (known.has(dependency.id)) types.set(dependency.id, dependency.type ?? 'hard');
      else problems.add([...path, 'depends_on', n], `there is no step "${dependency.id}"`, ids.slice(0, 20));
    }
    for (const part of ['with', 'when'] as const) {
      for (const name of operationsIn((fields[part] ?? null) as Json)) {
        if (!known.has(name))
          problems.add([...path, part], `there is no step "${name}" whose result could be read`, ids.slice(0, 20));
        else if (!types.has(name)) types.set(name, 'hard');
      }
    }
    for (const part of ['for_each', 'retry', 'timeout', 'priority', 'parallel_limit'] as const) {
      if (operationsIn((fields[part] ?? null) as Json).size > 0) {
        problems.add([...path, part], 'must be known before the workflow starts: it cannot read results of steps');
      }
    }
    for (const [from, type] of types) edges.push({ from, to: fields.id, type });
  }
  return edges;
}
