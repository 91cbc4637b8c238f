import type { Json, Path } from '../../documents/json.ts';
import { typeName } from '../../documents/json.ts';
import type { Problems } from '../../documents/problems.ts';
import type { Definition } from '../definition/definition.ts';
import { operationsIn, renderStatic } from './static.ts';
import type { StepSource } from './steps.ts';

/** How a step's nodes are run. Times in seconds. */
export interface Settings {
  maxAttempts: number;
  backoff: 'linear' | 'exponential';
  initialDelay: number;
  maxDelay: number;
  /** Null: as long as it takes. */
  timeout: number | null;
  onFailure: 'fail' | 'continue' | 'rollback';
  priority: number;
  /** Nodes of this step at once; null: only the workflow's own limit. */
  parallelLimit: number | null;
}

/** Nodes at once where the definition does not say. */
const DEFAULT_PARALLEL = 100;
const DEFAULT_ROLLBACK_ATTEMPTS = 5;

type Kinds = { number: number; integer: number; boolean: boolean };

/** A setting's value: its own, or that of its expression, in the range that its schema gives. */
function reader(facts: Record<string, Json>, problems: Problems) {
  return <K extends keyof Kinds>(
    value: unknown,
    path: Path,
    type: K,
    range: { min?: number; max?: number } = {},
  ): Kinds[K] | null => {
    if (value === undefined) return null;
    if (operationsIn(value as Json).size > 0) return null;
    const rendered = renderStatic(value as Json, facts, path, problems);
    if (rendered === undefined) return null;
    const { min = 0, max = 31_536_000 } = range;
    const fits =
      type === 'boolean'
        ? typeof rendered === 'boolean'
        : typeof rendered === 'number' &&
          rendered >= min &&
          rendered <= max &&
          (type === 'number' || Number.isInteger(rendered));
    if (fits) return rendered as Kinds[K];
    const wanted =
      type === 'boolean'
        ? 'true or false'
        : `${type === 'integer' ? 'a whole number' : 'a number'} from ${min} to ${max}`;
    problems.add(path, `must be ${wanted}, not ${typeof rendered === 'number' ? rendered : typeName(rendered)}`);
    return null;
  };
}

export function stepSettings({ fields, path }: StepSource, facts: Record<string, Json>, problems: Problems): Settings {
  const read = reader(facts, problems);
  const retry = fields.retry ?? {};
  const at = (name: string): Path => [...path, 'retry', name];
  return {
    maxAttempts: read(retry.max_attempts, at('max_attempts'), 'integer', { min: 1, max: 100 }) ?? 1,
    backoff: retry.backoff ?? 'exponential',
    initialDelay: read(retry.initial_delay, at('initial_delay'), 'number', { max: 86_400 }) ?? 5,
    maxDelay: read(retry.max_delay, at('max_delay'), 'number', { max: 86_400 }) ?? 300,
    timeout: read(fields.timeout, [...path, 'timeout'], 'number', { min: 0.001 }),
    onFailure: fields.on_failure ?? 'rollback',
    priority: read(fields.priority, [...path, 'priority'], 'integer', { min: -1_000, max: 1_000 }) ?? 0,
    parallelLimit: read(fields.parallel_limit, [...path, 'parallel_limit'], 'integer', { min: 1, max: 10_000 }),
  };
}

export function workflowSettings(definition: Definition, facts: Record<string, Json>, problems: Problems) {
  const read = reader(facts, problems);
  const { parallel_limit, rollback = {} } = definition.fields;
  for (const [name, value] of [['parallel_limit', parallel_limit], ...Object.entries(rollback)] as const) {
    if (operationsIn((value ?? null) as Json).size > 0) problems.add([String(name)], 'cannot read results of steps');
  }
  return {
    parallelLimit: read(parallel_limit, ['parallel_limit'], 'integer', { min: 1, max: 10_000 }) ?? DEFAULT_PARALLEL,
    rollback: {
      enabled: read(rollback.enabled, ['rollback', 'enabled'], 'boolean') ?? true,
      preserveSuccessful: read(rollback.preserve_successful, ['rollback', 'preserve_successful'], 'boolean') ?? false,
      maxAttempts:
        read(rollback.max_attempts, ['rollback', 'max_attempts'], 'integer', { min: 1, max: 100 }) ??
        DEFAULT_ROLLBACK_ATTEMPTS,
    },
  };
}
