/** Every limit there is: what is counted, per what, and which setting changes it. */

/** What a limit holds for. */
type LimitScope =
  | 'user'
  | 'address'
  | 'workspace'
  | 'installation'
  | 'operation'
  | 'workflow'
  | 'schedule'
  | 'target'
  | 'request';

interface LimitDefinition {
  per: LimitScope;
  /** What is counted, in words for people. */
  counts: string;
  /** Name of the setting, without the common prefix. */
  setting: string;
  /** Met by nobody in a team of fifty. */
  default: number;
  min: number;
  max: number;
}

/** A limit whose setting is its own name behind `LIMIT_`; 0: none. */
const limit = <Name extends string>(
  name: Name,
  definition: Omit<LimitDefinition, 'setting' | 'min' | 'max'> & { min?: number; max?: number },
) =>
  ({ [name]: { min: 0, max: 1_000_000_000, ...definition, setting: `LIMIT_${name.toUpperCase()}` } }) as Record<
    Name,
    LimitDefinition
  >;

export const LIMITS = {
  ...limit('user_operations', {
    per: 'user',
    counts: 'operations under way, without runs of workflows; nodes of workflows wait for room',
    default: 10_000,
  }),
  ...limit('workspace_operations', {
    per: 'workspace',
    counts: 'operations under way, without runs of workflows; nodes of workflows wait for room',
    default: 40_000,
  }),
  ...limit('user_workflows', { per: 'user', counts: 'runs of workflows under way, without nested ones', default: 500 }),
  ...limit('workspace_workflows', {
    per: 'workspace',
    counts: 'runs of workflows under way, without nested ones',
    default: 1_000,
  }),
  ...limit('workflow_nodes', {
    per: 'workflow',
    counts: 'nodes of a workflow, those of nested ones included',
    default: 20_000,
    min: 1,
    max: 20_000,
  }),
  ...limit('workspace_schedules', { per: 'workspace', counts: 'schedules', default: 500 }),
  ...limit('schedule_interval', {
    per: 'schedule',
    counts: 'seconds that lie between two times of a schedule at least',
    default: 60,
    max: 60,
  }),
  ...limit('webhooks', { per: 'installation', counts: 'webhooks', default: 1_000, min: 1, max: 1_000 }),
  ...limit('workspace_webhooks', { per: 'workspace', counts: 'webhooks', default: 100 }),
  ...limit('streams', { per: 'user', counts: 'event streams open at once', default: 200 }),
  ...limit('long_polls', { per: 'user', counts: 'requests that wait for an operation at once', default: 1_000 }),
  ...limit('whole_lists', {
    per: 'user',
    counts: 'lists without paging, of more than 2,000 rows, sent at once',
    default: 20,
  }),
  ...limit('operation_event_bytes', { per: 'operation', counts: 'bytes of output that are kept', default: 67_108_864 }),
  ...limit('user_event_bytes', {
    per: 'user',
    counts: 'bytes of output of their operations that are kept a day (UTC)',
    default: 1_073_741_824,
    max: 1_000_000_000_000,
  }),
  ...limit('workspace_event_bytes', {
    per: 'workspace',
    counts: 'bytes of output of its operations that are kept a day (UTC)',
    default: 4_294_967_296,
    max: 1_000_000_000_000,
  }),
  ...limit('target_checks', {
    per: 'target',
    counts: 'checks of `wait` nodes a second, of one host and port; waits for the same answer share one check',
    default: 5,
    max: 10_000,
  }),
  ...limit('workspace_checks', {
    per: 'workspace',
    counts: 'checks of `wait` nodes a second',
    default: 100,
    max: 10_000,
  }),
} as const satisfies Record<string, LimitDefinition>;

export type LimitName = keyof typeof LIMITS;
export const LIMIT_NAMES = Object.keys(LIMITS) as LimitName[];

/** By name; 0: no limit. */
export type LimitSettings = Record<LimitName, number>;

/** Names of the settings, without the common prefix. */
export const LIMIT_SETTING_NAMES: readonly string[] = LIMIT_NAMES.map((name) => LIMITS[name].setting);

/** @param integer reads a setting: its name, default and range. */
export function readLimitSettings(
  integer: (setting: string, fallback: number, min: number, max: number) => number,
): LimitSettings {
  return Object.fromEntries(
    LIMIT_NAMES.map((name) => {
      const { setting, default: fallback, min, max } = LIMITS[name];
      return [name, integer(setting, fallback, min, max)];
    }),
  ) as LimitSettings;
}
