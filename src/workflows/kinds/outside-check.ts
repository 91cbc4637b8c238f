import type { Principal } from '../../access/permissions.ts';
import { type JsonObject, type Path, pathText } from '../../documents/json.ts';
import { throwProblems } from '../../documents/problems.ts';
import { ApplicationError, errors } from '../../errors.ts';
import type { Budget } from '../../evaluation/pool.ts';
import type { Services } from '../../http/section.ts';
import type { QuestionContext, SampledFields } from '../../operations/node.ts';
import { sampleOf } from '../../util/secret-pattern.ts';
import type { DefinitionData } from '../definition/definition.ts';
import { patternOf } from '../definition/secrets.ts';
import { placedProblems, placesOf } from '../evaluation.ts';
import type { Plan } from '../planning/contract.ts';
import type { Given } from '../secrets/given.ts';
import { requireSecrets } from '../secrets/open.ts';
import { referencesIn, type SecretReference } from '../secrets/reference.ts';
import { refusedNode } from './ownership.ts';
import { rulesOf } from './rules.ts';

/** What questions have besides the fields of a node. */
function contextOf(asking: Asking, definition: DefinitionData): QuestionContext {
  const { services, principal, workspace, budget, given, once } = asking;
  return {
    principal,
    budget,
    once<T>(name: string, read: () => Promise<T>) {
      if (!once.has(name)) once.set(name, read());
      return once.get(name) as Promise<T>;
    },
    async withSamples(fields) {
      const references = referencesIn(fields);
      await requireSecrets(services, principal, workspace, references.values());
      return {
        fields: withSamples(fields, references, definition, given),
        secretNames: [...references.keys()],
        unknown: unknownSecrets(references, definition, given),
        // What another taskserv or the workspace holds is held against the definition when it is opened.
        opensLater: (name) => ['taskserv', 'workspace'].includes(references.get(name)?.of ?? ''),
      };
    },
  };
}

function unknownSecrets(
  references: ReadonlyMap<string, SecretReference>,
  { fields }: DefinitionData,
  given: Given,
): SampledFields['unknown'] {
  return [...references].flatMap(([name, reference]) => {
    if (reference.of !== 'run' || given.has(reference.name) || Object.hasOwn(fields.secrets ?? {}, reference.name))
      return [];
    const message = `the workflow has no secret "${reference.name}"; one of the workspace is written \${{ secrets.workspace.${reference.name} }}`;
    return [{ name, message }];
  });
}

/** The fields with texts of the right form in the place of secrets that do not exist yet. */
function withSamples(
  whole: JsonObject,
  references: ReadonlyMap<string, SecretReference>,
  { fields }: DefinitionData,
  given: Given,
): JsonObject {
  const samples = [...references].map(([name, reference]) => [
    name,
    reference.of === 'run' ? (given.get(reference.name) ?? sampleOf(patternOf(fields, reference.name))) : '',
  ]);
  return { ...whole, ...Object.fromEntries(samples) };
}

/**
 * Asks the providers and the catalog about what the nodes will ask of them, each question once, those of nested
 * workflows included, and whether the caller may do it to what is there already.
 * @throws 400 naming every such node, 403 naming the first.
 */
export async function checkOutside(
  services: Services,
  principal: Principal,
  workspace: string,
  { definition, plan, given }: { definition: DefinitionData; plan: Plan; given: Given },
  budget: Budget,
): Promise<void> {
  const asking: Asking = {
    services,
    principal,
    workspace,
    budget,
    given,
    asked: new Set(),
    silent: new Set(),
    once: new Map(),
  };
  const found = await askOutside(asking, definition, plan);
  throwProblems(await placedProblems(definition, found, budget));
}

interface Asking {
  services: Services;
  budget: Budget;
  /** What references to given secrets stand for. */
  given: Given;
  principal: Principal;
  workspace: string;
  /** Questions that have been asked. */
  asked: Set<string>;
  /** Those who could not answer: each further question would make the request wait as long again. */
  silent: Set<string>;
  /** What questions have read, by name. */
  once: Map<string, Promise<unknown>>;
}

interface Answer {
  path: Path;
  message: string;
  near: string[] | undefined;
}

async function askOutside(asking: Asking, definition: DefinitionData, plan: Plan): Promise<Answer[]> {
  const { services, principal, workspace, asked, silent } = asking;
  const answers: Answer[] = [];
  const context = contextOf(asking, definition);
  const nodesOf = Map.groupBy(plan.nodes, ({ step }) => step);
  for (const step of plan.steps) {
    const path: Path = [...(plan.places.get(step.id) ?? []), 'with'];
    const nodes = (nodesOf.get(step.id) ?? []).filter(({ skipped }) => !skipped);
    const refused = await refusedNode(services.db, principal, workspace, step.kind, nodes);
    if (refused !== null) throw await forbidden(asking, definition, [...path, refused.field], refused);
    const { question } = rulesOf(step.kind);
    if (question === undefined) continue;
    for (const node of nodes) {
      // Not where a field that the answer depends on is still to come.
      if (question.from.some((name) => step.with[name] !== undefined && node.known[name] === undefined)) continue;
      const key = JSON.stringify([step.kind, question.from.map((name) => node.known[name])]);
      if (asked.has(key)) continue;
      asked.add(key);
      const of = question.askedOf?.(node.known);
      if (of !== undefined && silent.has(of)) continue;
      const found = await question.ask(services, workspace, node.known, context).catch(async (error: unknown) => {
        if (!(error instanceof ApplicationError) || error.status !== 403) throw error;
        throw await forbidden(asking, definition, path, { node, message: error.message });
      });
      if (found === null && of !== undefined) silent.add(of);
      for (const problem of found ?? []) {
        const { field, message, near_matches: near } = problem;
        answers.push({ path: [...path, ...field.split('.')], message: `${message} (${node.key})`, near });
      }
    }
  }
  for (const inner of plan.inner) {
    const name = inner.definition.name ?? '';
    try {
      for (const { path, message, near } of await askOutside(asking, inner.definition, inner.plan))
        answers.push({ path: inner.path, message: `workflow "${name}": ${pathText(path)}: ${message}`, near });
    } catch (error) {
      if (!(error instanceof ApplicationError) || error.status !== 403) throw error;
      throw await forbidden(asking, definition, inner.path, { message: `workflow "${name}": ${error.message}` });
    }
  }
  return answers;
}

/** 403 at the place in the definition. */
async function forbidden(
  { budget }: Asking,
  definition: DefinitionData,
  path: Path,
  { node, message }: { node?: { key: string }; message: string },
): Promise<ApplicationError> {
  const [place = null] = await placesOf(definition, [path], budget);
  const where = node === undefined ? pathText(path) : `${pathText(path)} (${node.key})`;
  return errors.forbiddenNode(place === null ? where : `${where} (line ${place.line})`, message);
}
