import type { PreparedWorkflow } from './prepare.ts';

/** The resolved graph as clients see it. */
export function graphOf({ type, plan }: PreparedWorkflow) {
  const count = new Map<string, { nodes: number; skipped: number }>();
  for (const { step, skipped } of plan.nodes) {
    const entry = count.get(step) ?? { nodes: 0, skipped: 0 };
    entry.nodes += 1;
    if (skipped) entry.skipped += 1;
    count.set(step, entry);
  }
  const kinds = new Map(plan.steps.map(({ id, kind }) => [id, kind]));
  return {
    workflow_type: type,
    parameters: plan.parameters,
    steps: plan.steps.map(({ id, kind }) => ({ id, kind, ...(count.get(id) ?? { nodes: 0, skipped: 0 }) })),
    nodes: plan.nodes.map(({ key, step, with: fields, skipped }) => ({
      id: key,
      step,
      kind: kinds.get(step) ?? '',
      with: fields,
      skipped,
    })),
    edges: plan.edges,
    waves: plan.waves,
    critical_path: plan.criticalPath,
    parallel_limit: plan.settings.parallelLimit,
    permissions: [...new Set(plan.permissions.map(({ permission }) => permission))],
  };
}
