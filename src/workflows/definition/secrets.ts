import { DEFAULT_PATTERN } from '../../util/secret-pattern.ts';
import type { DefinitionFields } from './schema.ts';

/** What a secret of the definition looks like. */
export function patternOf(fields: DefinitionFields, name: string): string {
  return fields.secrets?.[name]?.pattern ?? DEFAULT_PATTERN;
}
