import type { Principal } from '../../access/permissions.ts';
import { type Catalog, loadCatalog } from '../../catalog/catalog.ts';
import { isObject, type JsonObject, type Path, pathText } from '../../documents/json.ts';
import { throwProblems } from '../../documents/problems.ts';
import { ApplicationError, errors, type FieldProblem } from '../../errors.ts';
import type { Budget } from '../../evaluation/pool.ts';
import type { Services } from '../../http/section.ts';
import { checkCreate, requireSecretFields } from '../../taskservs/create/operation.ts';
import { sampleOf } from '../../util/secret-pattern.ts';
import { workspaceDirectory } from '../../workspaces/store.ts';
import type { DefinitionData } from '../definition/definition.ts';
import { patternOf } from '../definition/secrets.ts';
import { placedProblems, placesOf } from '../evaluation.ts';
import type { Plan } from '../planning/contract.ts';
import type { Given } from '../secrets/given.ts';
import { requireSecrets } from '../secrets/open.ts';
import { referencesIn, type SecretReference } from '../secrets/reference.ts';
import { refusedNode } from './ownership.ts';
import type { Kind } from './plain-rules.ts';
import { rulesOf } from './rules.ts';

/** What is asked before a workflow is accepted. */
interface Question {
  /** The fields that the answer depends on. */
  from: readonly string[];
  /** Null: nobody can tell now, which does not stop the workflow from being accepted. */
  ask(
    services: Services,
    principal: Principal,
    workspace: string,
    known: JsonObject,
    definition: DefinitionData,
    asking: Asking,
  ): Promise<FieldProblem[] | null>;
  /** Of whom it is asked: who could not answer one question is asked no further one. */
  askedOf?(known: JsonObject): string;
}

/** As a node of a workflow it may refer to secrets of the run, which the kind itself knows nothing of. */
const TASKSERV_QUESTION: Question = {
  from: ['name', 'config'],
  async ask(services, principal, workspace, { name, config }, definition, asking) {
    const whole = isObject(config) ? config : {};
    const references = referencesIn(whole);
    await requireSecrets(services, principal, workspace, references.values());
    const unknown = unknownSecrets(references, definition, asking.given);
    if (unknown.length > 0) return unknown;
    try {
      const body = {
        workspace,
        name: String(name),
        servers: ['any'],
        config: withSamples(whole, definition, asking.given),
      };
      asking.catalog ??= await loadCatalog(await workspaceDirectory(services.db, workspace));
      const { secretNames } = await checkCreate(services, principal, body, asking.budget, asking.catalog);
      requireSecretFields(references.keys(), secretNames);
      return [];
    } catch (error) {
      if (!(error instanceof ApplicationError) || error.status !== 400 || !Array.isArray(error.details)) throw error;
      // What another taskserv or the workspace holds is held against the definition when it is opened.
      return (error.details as FieldProblem[]).filter(
        ({ field }) => !['taskserv', 'workspace'].includes(references.get(field.replace(/^config\./, ''))?.of ?? ''),
      );
    }
  },
};

function unknownSecrets(
  references: ReadonlyMap<string, SecretReference>,
  { fields }: DefinitionData,
  given: Given,
): FieldProblem[] {
  return [...references].flatMap(([name, reference]) => {
    if (reference.of !== 'run' || given.has(reference.name) || Object.hasOwn(fields.secrets ?? {}, reference.name))
      return [];
    const message = `the workflow has no secret "${reference.name}"; one of the workspace is written \${{ secrets.workspace.${reference.name} }}`;
    return [{ field: `config.${name}`, message }];
  });
}

function questionOf(kind: Kind): Question | undefined {
  if (kind === 'taskserv.create') return TASKSERV_QUESTION;
  const { question } = rulesOf(kind);
  if (question === undefined) return undefined;
  return {
    from: question.from,
    ask: (services, _principal, workspace, known) => question.ask(services, workspace, known),
    ...(question.askedOf === undefined ? {} : { askedOf: question.askedOf }),
  };
}

/** The config with texts of the right form in the place of secrets that do not exist yet. */
function withSamples(config: JsonObject, { fields }: DefinitionData, given: Given): JsonObject {
  const samples = [...referencesIn(config)].map(([name, reference]) => [
    name,
    reference.of === 'run' ? (given.get(reference.name) ?? sampleOf(patternOf(fields, reference.name))) : '',
  ]);
  return { ...config, ...Object.fromEntries(samples) };
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
  const asking: Asking = { services, principal, workspace, budget, given, asked: new Set(), silent: new Set() };
  const found = await askOutside(asking, definition, plan);
  throwProblems(await placedProblems(definition, found, budget));
}

interface Asking {
  services: Services;
  budget: Budget;
  /** What references to given secrets stand for. */
  given: Given;
  /** Read for the first taskserv. */
  catalog?: Catalog;
  principal: Principal;
  workspace: string;
  /** Questions that have been asked. */
  asked: Set<string>;
  /** Those who could not answer: each further question would make the request wait as long again. */
  silent: Set<string>;
}

interface Answer {
  path: Path;
  message: string;
  near: string[] | undefined;
}

async function askOutside(asking: Asking, definition: DefinitionData, plan: Plan): Promise<Answer[]> {
  const { services, principal, workspace, asked, silent } = asking;
  const answers: Answer[] = [];
  const nodesOf = Map.groupBy(plan.nodes, ({ step }) => step);
  for (const step of plan.steps) {
    const path: Path = [...(plan.places.get(step.id) ?? []), 'with'];
    const nodes = (nodesOf.get(step.id) ?? []).filter(({ skipped }) => !skipped);
    const refused = await refusedNode(services.db, principal, workspace, step.kind, nodes);
    if (refused !== null) throw await forbidden(asking, definition, [...path, refused.field], refused);
    const question = questionOf(step.kind);
    if (question === undefined) continue;
    for (const node of nodes) {
      // Not where a field that the answer depends on is still to come.
      if (question.from.some((name) => step.with[name] !== undefined && node.known[name] === undefined)) continue;
      const key = JSON.stringify([step.kind, question.from.map((name) => node.known[name])]);
      if (asked.has(key)) continue;
      asked.add(key);
      const of = question.askedOf?.(node.known);
      if (of !== undefined && silent.has(of)) continue;
      const found = await question
        .ask(services, principal, workspace, node.known, definition, asking)
        .catch(async (error: unknown) => {
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
