import type { CommandDefinition } from '../command.ts';
import { type ConfigFile, readConfig, updateConfig } from '../config-file.ts';
import { NotFoundError } from '../errors.ts';
import { field } from '../output.ts';

const VIEW = { columns: [field('current'), field('name'), field('url'), field('username')], name: 'name' };

function mustKnow(config: ConfigFile, name: string): void {
  if (config.contexts[name] !== undefined) return;
  throw new NotFoundError(
    `There is no context "${name}". Known contexts: ${Object.keys(config.contexts).join(', ') || 'none'}.`,
  );
}

/** The servers that the user knows. */
export const contextCommands: readonly CommandDefinition[] = [
  {
    name: 'context list',
    summary: 'list the servers that you have logged in to',
    examples: ['provisioning context list'],
    covers: [],
    async run(session) {
      const { current, contexts } = await readConfig(session.configFile);
      const rows = Object.entries(contexts).map(([name, { url, username }]) => ({
        current: name === current ? '*' : '',
        name,
        url,
        username,
      }));
      session.rows(rows, VIEW);
    },
  },
  {
    name: 'context use',
    summary: 'choose the server that commands are sent to',
    examples: ['provisioning context use provisioning.example'],
    arguments: [{ name: 'name', description: 'name of a context' }],
    covers: [],
    async run(session, [name = '']) {
      await updateConfig(session.configFile, async (config) => {
        mustKnow(config, name);
        return { ...config, current: name };
      });
      session.done(`Current context: "${name}".`, { name, current: true }, VIEW);
    },
  },
  {
    name: 'context delete',
    summary: 'delete a context and its stored tokens',
    examples: ['provisioning context delete old.example'],
    arguments: [{ name: 'name', description: 'name of a context' }],
    covers: [],
    async run(session, [name = '']) {
      await updateConfig(session.configFile, async (config) => {
        mustKnow(config, name);
        const { [name]: _, ...contexts } = config.contexts;
        return { current: config.current === name ? null : config.current, contexts };
      });
      session.done(`Context "${name}" deleted.`, { name, deleted: true }, VIEW);
    },
  },
];
