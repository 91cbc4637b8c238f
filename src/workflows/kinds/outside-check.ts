import type { Principal } from '../../auth/permissions.ts';
import { ApplicationError, type FieldProblem } from '../../errors.ts';
import type { Services } from '../../http/section.ts';
import { ProviderError } from '../../providers/contract.ts';
import { checkCreate } from '../../taskservs/installing.ts';
import { type Definition, patternOf } from '../definition/definition.ts';
import { isObject, type JsonObject, type Path } from '../json.ts';
import type { Plan } from '../planning/plan.ts';
import { createProblems, throwProblems } from '../problems.ts';
import { requireSecrets } from '../secrets/open.ts';
import { sampleOf } from '../secrets/pattern.ts';
import { referencesIn } from '../secrets/reference.ts';
import type { Kind } from './rules.ts';
import { requireSecretFields } from './taskservs.ts';

/** What is asked before a workflow is accepted; `from`: the fields that the answer depends on. */
interface Question {
  from: readonly string[];
  ask(
    services: Services,
    principal: Principal,
    workspace: string,
    known: JsonObject,
    definition: Definition,
  ): Promise<FieldProblem[]>;
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
    async ask(services, principal, workspace, { name, config }, definition) {
      const given = isObject(config) ? config : {};
      const references = referencesIn(given);
      await requireSecrets(services, principal, workspace, references.values());
      try {
        const body = { workspace, name: String(name), servers: ['any'], config: withSamples(given, definition) };
        requireSecretFields(references.keys(), (await checkCreate(services, principal, body)).secretNames);
        return [];
      } catch (error) {
        if (!(error instanceof ApplicationError) || error.status !== 400 || !Array.isArray(error.details)) throw error;
        // What another taskserv holds was held against its own definition.
        return (error.details as FieldProblem[]).filter(
          ({ field }) => references.get(field.replace(/^config\./, ''))?.of !== 'taskserv',
        );
      }
    },
  },
};

/** The config with texts of the right form in the place of secrets that do not exist yet. */
function withSamples(config: JsonObject, { fields }: Definition): JsonObject {
  const samples = [...referencesIn(config)].map(([name, reference]) => [
    name,
    reference.of === 'run' ? sampleOf(patternOf(fields, reference.name)) : '',
  ]);
  return { ...config, ...Object.fromEntries(samples) };
}

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
    for (const { field, message, near_matches } of await question.ask(
      services,
      principal,
      workspace,
      node.known,
      definition,
    )) {
      problems.add([...path, ...field.split('.')], `${message} (${node.key})`, near_matches);
    }
  }
  throwProblems(problems.list);
}
