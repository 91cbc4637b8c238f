import { Type } from 'typebox';
import type { Json, Path } from '../../documents/json.ts';
import { createProblems, type Problem, type Problems } from '../../documents/problems.ts';
import { addSchemaErrors } from '../../documents/schema-errors.ts';
import { createOwnAjv } from '../../documents/schemas.ts';
import { notePlace } from '../../evaluation/meter.ts';
import { atFirstUse } from '../../util/at-first-use.ts';
import { checkTemplates, type Definition } from '../definition/definition.ts';
import { MAX_STEPS, type StepFields, stepSchema } from '../definition/schema.ts';
import { ExpressionError } from '../expressions/language.ts';
import { renderTemplate, templateOf } from '../expressions/template.ts';

/** A step, and where it is written. */
export interface StepSource {
  fields: StepFields;
  path: Path;
}

const stepsForm = atFirstUse(() =>
  createOwnAjv().compile(Type.Array(stepSchema(), { minItems: 1, maxItems: MAX_STEPS })),
);

/** The steps of a definition: written out, or an expression that yields them (such as `${{ parameters.operations }}`). */
export function resolveSteps(
  definition: Definition,
  facts: Record<string, Json>,
): { steps: StepSource[]; problems: Problems } | { steps: null; problems: readonly Problem[] } {
  const { operations } = definition.fields;
  const written = createProblems(definition.locate);
  if (Array.isArray(operations)) {
    const steps = operations.map((fields, n) => ({ fields, path: ['operations', n] }));
    checkIds(steps, written);
    return { steps, problems: written };
  }
  notePlace('operations');
  let value: Json;
  let base: Path = ['operations'];
  try {
    const template = templateOf(operations);
    if (template === null) throw new ExpressionError('must be a list of steps');
    if (template.references.operations.size > 0) throw new ExpressionError('cannot depend on results of its own steps');
    value = renderTemplate(template, facts);
    const [parameter] = template.references.parameters;
    // The steps stand in the request then, and are named by their place there.
    if (parameter !== undefined && template.references.parameters.size === 1) base = ['parameters', parameter];
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    written.add(['operations'], error.message);
    return { steps: null, problems: written.list };
  }
  const problems = createProblems();
  const checkSteps = stepsForm();
  if (!checkSteps(value)) {
    addSchemaErrors(problems, base, checkSteps.errors ?? []);
    return { steps: null, problems: problems.list };
  }
  checkTemplates(value, base, definition.fields, problems);
  const steps = (value as StepFields[]).map((fields, n) => ({ fields, path: [...base, n] }));
  checkIds(steps, problems);
  return problems.list.length > 0 ? { steps: null, problems: problems.list } : { steps, problems };
}

function checkIds(steps: readonly StepSource[], problems: Problems): void {
  const seen = new Set<string>();
  for (const { fields, path } of steps) {
    if (seen.has(fields.id)) problems.add([...path, 'id'], `there are two steps "${fields.id}"`);
    seen.add(fields.id);
  }
}
