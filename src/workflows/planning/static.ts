import type { Json, Path } from '../../documents/json.ts';
import type { Problems } from '../../documents/problems.ts';
import { CostError } from '../../evaluation/meter.ts';
import { eachTemplate, render, TemplateError } from '../expressions/template.ts';

/** A value rendered while planning; a problem at its place and undefined where that fails. */
export function renderStatic(
  value: Json,
  context: Record<string, Json>,
  base: Path,
  problems: Problems,
): Json | undefined {
  try {
    return render(value, context);
  } catch (error) {
    if (error instanceof CostError) error.path = [...base, ...(error.path ?? [])];
    if (!(error instanceof TemplateError)) throw error;
    problems.add([...base, ...error.path], error.message);
    return undefined;
  }
}

/** The steps whose results a value reads. Empty: it is known while planning. */
export function operationsIn(value: Json): Set<string> {
  const names = new Set<string>();
  eachTemplate(
    value,
    [],
    ({ references }) => {
      for (const name of references.operations) names.add(name);
    },
    () => {},
  );
  return names;
}
