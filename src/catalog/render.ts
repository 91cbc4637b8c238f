import type { TaskservDefinition } from './definition.ts';

/** Where a host keeps what was asked for: `<name>.json` for each taskserv. */
const CONFIG_DIRECTORY = '/etc/provisioning';

/** What a host needs besides the script itself. Both hold the config's secrets: only root may read them. */
export interface RenderedScripts {
  /** Of the script's process. */
  env: Record<string, string>;
  /** Must be there before install.sh runs. */
  configFile: { path: string; content: string; mode: 0o600 };
}

/**
 * What install.sh, check.sh and remove.sh of a definition get on a host: `TASKSERV_NAME`, `TASKSERV_VERSION`,
 * `TASKSERV_PLATFORMS`, `TASKSERV_CONFIG` (the file's path) and one `TASKSERV_<PROPERTY>` for each config property: text
 * as it is, numbers and booleans as JSON writes them, a list of plain values one in a line, anything else as JSON, and
 * the empty string for a property without a value.
 * @param values as `resolveConfig` returned them
 */
export function renderScripts(
  definition: TaskservDefinition,
  version: string,
  values: Record<string, unknown>,
): RenderedScripts {
  const path = `${CONFIG_DIRECTORY}/${definition.name}.json`;
  const env: Record<string, string> = {
    TASKSERV_NAME: definition.name,
    TASKSERV_VERSION: version,
    TASKSERV_PLATFORMS: definition.platforms.join(' '),
    TASKSERV_CONFIG: path,
  };
  for (const property of Object.keys(definition.config)) {
    env[`TASKSERV_${property.toUpperCase()}`] = environmentText(values[property]);
  }
  const content = `${JSON.stringify({ name: definition.name, version, config: values }, null, 2)}\n`;
  return { env, configFile: { path, content, mode: 0o600 } };
}

/** A value as the text of an environment variable. */
export function environmentText(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.every((item) => typeof item !== 'object' || item === null)) {
    return value.map((item) => environmentText(item)).join('\n');
  }
  return JSON.stringify(value);
}
