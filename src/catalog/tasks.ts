/** What of the catalog is evaluated in threads (src/evaluator.ts): definitions that users write, and configs against them. */
import { createProblems, type Place, type Problem } from '../documents/problems.ts';
import { addSchemaErrors } from '../documents/schema-errors.ts';
import { readYaml } from '../documents/yaml.ts';
import type { FieldProblem } from '../errors.ts';
import { notePlace } from '../evaluation/meter.ts';
import { checkConfig } from './config-check.ts';
import { type ConfigProperty, type DefinitionFile, formOfDefinitionFiles } from './definition.ts';
import { checkMeaning } from './meaning.ts';

/** A problem of a file, as a line of its own. */
export interface Found extends Place {
  message: string;
}

/** A taskserv.yaml that holds, with where each of its requirements stands; or what is wrong with it. */
export type ReadDefinition = { file: DefinitionFile; requirements: Place[] } | { problems: Found[] };

export const START: Place = { line: 1, column: 1 };
/** None: a definition is short, and an alias hides from its reader what a setting is. */
const MAX_ALIASES = 0;

function read({ text, folder }: { text: string; folder: string }): ReadDefinition {
  notePlace('its YAML');
  const { source, problems } = readYaml(text, MAX_ALIASES);
  if (source === null) return { problems: problems.map(inWords) };
  const { value, locate } = source;
  const wrong = createProblems(locate);
  notePlace('config');
  const isDefinitionFile = formOfDefinitionFiles();
  if (!isDefinitionFile(value)) addSchemaErrors(wrong, [], isDefinitionFile.errors ?? []);
  else {
    checkMeaning(value, folder, wrong);
    const requirements = (value.requires ?? []).map((_, index) => locate(['requires', index], 'value') ?? START);
    if (wrong.list.length === 0) return { file: value, requirements };
  }
  return { problems: wrong.list.map(inWords) };
}

/** A problem as a line of its own, with the field in front and what may have been meant behind. */
function inWords({ path, field, message, near_matches: near = [], line, column }: Problem): Found {
  const hint = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
  return {
    line: line ?? START.line,
    column: column ?? START.column,
    message: `${path.length === 0 ? '' : `${field}: `}${message}${hint}`,
  };
}

function config(asked: { name: string; properties: Record<string, ConfigProperty>; config: Record<string, unknown> }): {
  values: Record<string, unknown>;
  problems: FieldProblem[];
} {
  notePlace('config');
  return checkConfig(asked.name, asked.properties, asked.config);
}

export const CATALOG_TASKS = { 'taskserv.read': read, 'taskserv.config': config };
