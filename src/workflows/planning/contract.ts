/** What planning works with and what it makes. */
import type { Permission } from '../../access/permissions.ts';
import type { Json, JsonObject, Path } from '../../documents/json.ts';
import type { Problem } from '../../documents/problems.ts';
import type { Definition, DefinitionData } from '../definition/definition.ts';
import type { Kind } from '../kinds/plain-rules.ts';
import type { Edge, Shape } from './graph.ts';
import type { Settings } from './settings.ts';

/** What a definition is planned with. */
export interface PlanInput {
  definition: Definition;
  parameters: JsonObject;
  workspace: { name: string; defaults: JsonObject };
  /** The workspace's servers as expressions see them. */
  servers: Json[];
  /** Its taskservs likewise. */
  taskservs: Json[];
  /** Every type the workspace has, for nested workflows. Undefined: there is none of that name. */
  type(name: string): Definition | undefined;
  /** Names of the types, for near matches. */
  typeNames: readonly string[];
  /** Keys of the secrets that the workspace keeps. */
  workspaceSecrets?: readonly string[];
  /** What references to given secrets in the parameters stand for: schemas of parameters are held against that. */
  given?: Readonly<Record<string, Json>>;
}

/** A step, with everything decided that does not depend on results. */
export interface PlannedStep {
  id: string;
  kind: Kind;
  /** `with` as it stands in the definition: rendered for each node when its turn comes. */
  with: JsonObject;
  /** Expression that decides when its turn comes; null: it was decided while planning. */
  when: string | null;
  /** Whether it has `for_each`: its results then are a list. */
  many: boolean;
  settings: Settings;
}

/** One operation to be. */
export interface PlannedNode {
  /** `web` or `web[3]`. */
  key: string;
  step: string;
  /** Place in `for_each`; 0 without. */
  index: number;
  item: Json;
  /** Rendered; null where it needs results of others. */
  with: JsonObject | null;
  /** What is known of `with` before anything runs: all of it, or the fields that read no results. */
  known: JsonObject;
  /** Of the field that secrets go into, where it is not known as a whole: what of it reads no results. */
  parts?: JsonObject;
  /** Left out: its `when` is false. */
  skipped: boolean;
}

/** A workflow as it will run. */
export interface Plan extends Shape {
  parameters: JsonObject;
  steps: PlannedStep[];
  nodes: PlannedNode[];
  edges: Edge[];
  outputs: JsonObject;
  settings: { parallelLimit: number; rollback: { enabled: boolean; preserveSuccessful: boolean; maxAttempts: number } };
  /** Where each step is written. */
  places: Map<string, Path>;
  /** What the submitter must be permitted to do, and where the definition asks for it. */
  permissions: { permission: Permission; path: Path }[];
  /** Keys of secrets of the workspace that expressions name. */
  workspaceSecrets: string[];
  /** Definitions of nested workflows by type: what the run keeps of them. */
  nested: Map<string, DefinitionData>;
  /** The plans of nested workflows whose parameters are known, and where they are asked for. */
  inner: { path: Path; definition: DefinitionData; plan: Plan }[];
}

export type Planned = { plan: Plan; problems: readonly [] } | { plan: null; problems: readonly Problem[] };
