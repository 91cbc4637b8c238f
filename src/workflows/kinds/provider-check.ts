import { ProviderError } from '../../providers/contract.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import type { Definition } from '../definition/definition.ts';
import type { JsonObject } from '../json.ts';
import type { Plan } from '../planning/plan.ts';
import { createProblems, throwProblems } from '../problems.ts';

/**
 * Asks the providers about the servers that a workflow will create: one question for each combination of provider,
 * plan, zone and tags. A provider that is away does not stop the workflow from being accepted.
 * @throws 400 naming the node.
 */
export async function checkAtProviders(
  providers: ProviderRegistry,
  workspace: string,
  definition: Definition,
  plan: Plan,
): Promise<void> {
  const problems = createProblems(definition.source.locate);
  const asked = new Set<string>();
  const creates = new Set(plan.steps.filter(({ kind }) => kind === 'server.create').map(({ id }) => id));
  const places = new Map(plan.steps.map(({ id }, n) => [id, ['operations', n, 'with'] as const]));
  for (const node of plan.nodes) {
    if (node.with === null || !creates.has(node.step)) continue;
    const { hostname, ...rest } = node.with;
    const question = JSON.stringify(rest);
    if (asked.has(question)) continue;
    asked.add(question);
    for (const { field, message, near_matches } of await ask(providers, workspace, node.with)) {
      problems.add(
        [...(places.get(node.step) ?? []), field],
        `${message} (${node.key}, ${String(hostname)})`,
        near_matches,
      );
    }
  }
  throwProblems(problems.list);
}

async function ask(providers: ProviderRegistry, workspace: string, fields: JsonObject) {
  const { provider, hostname, plan, zone, tags } = fields;
  try {
    return await providers.validate(String(provider), {
      workspace,
      hostname: String(hostname),
      plan: String(plan),
      zone: String(zone),
      tags: Array.isArray(tags) ? tags.map(String) : [],
    });
  } catch (error) {
    if (error instanceof ProviderError && error.retryable) return [];
    throw error;
  }
}
