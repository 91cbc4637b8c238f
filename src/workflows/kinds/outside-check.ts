import type { Principal } from '../../auth/permissions.ts';
import { ApplicationError, type FieldProblem } from '../../errors.ts';
import type { Services } from '../../http/section.ts';
import { ProviderError } from '../../providers/contract.ts';
import { checkCreate } from '../../taskservs/installing.ts';
import type { Definition } from '../definition/definition.ts';
import type { JsonObject, Path } from '../json.ts';
import type { Plan } from '../planning/plan.ts';
import { createProblems, throwProblems } from '../problems.ts';
import type { Kind } from './rules.ts';

/** What is asked before a workflow is accepted; `from`: the fields that the answer depends on. */
interface Question {
  from: readonly string[];
  ask(services: Services, principal: Principal, workspace: string, known: JsonObject): Promise<FieldProblem[]>;
}

const QUESTIONS: Partial<Record<Kind, Question>> = {
  'server.create': {
    from: ['provider', 'plan', 'zone', 'tags'],
    async ask({ providers }, _principal, workspace, { provider, hostname, plan, zone, tags }) {
      try {
        return await providers.validate(String(provider), {
          workspace,
          hostname: String(hostname ?? 'host'),
          plan: String(plan),
          zone: String(zone),
          tags: Array.isArray(tags) ? tags.map(String) : [],
        });
      } catch (error) {
        // A provider that is away does not stop a workflow from being accepted.
        if (error instanceof ProviderError && error.retryable) return [];
        throw error;
      }
    },
  },
  'taskserv.create': {
    from: ['name', 'config'],
    async ask(services, principal, workspace, { name, config }) {
      try {
        const fields =
          typeof config === 'object' && config !== null ? { config: config as Record<string, unknown> } : {};
        await checkCreate(services, principal, { workspace, name: String(name), servers: ['any'], ...fields });
        return [];
      } catch (error) {
        if (!(error instanceof ApplicationError) || error.status !== 400 || !Array.isArray(error.details)) throw error;
        return error.details as FieldProblem[];
      }
    },
  },
};

/**
 * Asks the providers and the catalog about what the nodes will ask of them, each question once.
 * @throws 400 naming the node.
 */
export async function checkOutside(
  services: Services,
  principal: Principal,
  workspace: string,
  definition: Definition,
  plan: Plan,
): Promise<void> {
  const problems = createProblems(definition.source.locate);
  const asked = new Set<string>();
  const steps = new Map(plan.steps.map((step, n) => [step.id, { step, path: ['operations', n, 'with'] as Path }]));
  for (const node of plan.nodes) {
    const { step, path } = steps.get(node.step) ?? {};
    const question = step === undefined ? undefined : QUESTIONS[step.kind];
    if (step === undefined || path === undefined || question === undefined || node.skipped) continue;
    // Not where a field that the answer depends on is still to come.
    if (question.from.some((name) => step.with[name] !== undefined && node.known[name] === undefined)) continue;
    const key = JSON.stringify([step.kind, question.from.map((name) => node.known[name])]);
    if (asked.has(key)) continue;
    asked.add(key);
    for (const { field, message, near_matches } of await question.ask(services, principal, workspace, node.known)) {
      problems.add([...path, ...field.split('.')], `${message} (${node.key})`, near_matches);
    }
  }
  throwProblems(problems.list);
}
