/** Tags as users write them (`blue`, `env=prod`) and labels as clouds keep them (a key with a value). */
import {
  INSTALLATION_LABEL,
  OPERATION_LABEL,
  type ServerLabels,
  type ServerSpec,
  type SpecProblem,
  WORKSPACE_LABEL,
} from './contract.ts';

/** Keys that start so are ours and never shown as tags. */
const OURS = 'provisioning-';
/** Label key that remembers the plan's name as it was asked for. */
export const PLAN_LABEL = 'provisioning-plan';

/** What a cloud takes. */
export interface LabelRules {
  key: RegExp;
  value: RegExp;
  /** In words, for the message. */
  words: string;
}

export function labelOf(tag: string): { key: string; value: string } {
  const at = tag.indexOf('=');
  return at === -1 ? { key: tag, value: '' } : { key: tag.slice(0, at), value: tag.slice(at + 1) };
}

/** The tags among a server's labels, sorted. @param reserved keys that start so are the cloud's own: nobody can set them. */
export function tagsOf(labels: ReadonlyMap<string, string>, reserved?: string): string[] {
  return [...labels]
    .filter(([key]) => !key.startsWith(OURS) && !(reserved !== undefined && key.startsWith(reserved)))
    .map(([key, value]) => (value === '' ? key : `${key}=${value}`))
    .toSorted();
}

/** Tags as they come back from a cloud: sorted, each once, `web=` as `web`. */
export function canonicalTags(tags: readonly string[]): string[] {
  return tagsOf(new Map(tags.map(labelOf).map(({ key, value }) => [key, value])));
}

/** What a server's labels become: what we noted about it stays, its tags are exactly the wanted ones. */
export function relabelled(
  current: ReadonlyMap<string, string>,
  { operationId, workspace, tags }: ServerLabels,
  installation: string,
): Map<string, string> {
  return new Map([
    ...[...current].filter(([key]) => key.startsWith(OURS)),
    [OPERATION_LABEL, operationId],
    [WORKSPACE_LABEL, workspace],
    [INSTALLATION_LABEL, installation],
    ...tags.map(labelOf).map(({ key, value }): [string, string] => [key, value]),
  ]);
}

/** Whether a server has exactly these labels already: then there is nothing to set. */
export function isLabelled(current: ReadonlyMap<string, string>, labels: ReadonlyMap<string, string>): boolean {
  return current.size === labels.size && [...labels].every(([key, value]) => current.get(key) === value);
}

/** Tags that this cloud cannot keep as labels, each with the reason. */
export function tagProblems({ tags }: ServerSpec, rules: LabelRules): SpecProblem[] {
  const keys = new Set<string>();
  return tags.flatMap((tag): SpecProblem[] => {
    const { key, value } = labelOf(tag);
    const twice = keys.has(key);
    keys.add(key);
    const reserved = key.startsWith(OURS);
    if (!twice && !reserved && rules.key.test(key) && rules.value.test(value)) return [];
    const why = twice ? `its key "${key}" is there twice` : reserved ? `keys with "${OURS}" are reserved` : rules.words;
    return [{ field: 'tags', message: `The tag "${tag}" cannot become a label: ${why}.`, near_matches: [] }];
  });
}

/** RFC 1123 names, of at most 63 characters in all: Linux takes 64. */
export function hostnameProblems({ hostname }: Pick<ServerSpec, 'hostname'>): SpecProblem[] {
  const label = '[a-z0-9]([a-z0-9-]*[a-z0-9])?';
  if (hostname.length <= 63 && new RegExp(`^${label}(\\.${label})*$`, 'i').test(hostname)) return [];
  const nearest = hostname
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, '-')
    .slice(0, 63)
    .replace(/^[.-]+|[.-]+$/g, '');
  return [
    {
      field: 'hostname',
      message: `"${hostname}" is not a host name: use at most 63 letters, digits, hyphens and dots, with a letter or digit at both ends.`,
      near_matches: nearest === '' ? [] : [nearest],
    },
  ];
}
