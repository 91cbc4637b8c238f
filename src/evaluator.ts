/**
 * Where each thread begins that evaluates what users wrote (src/evaluation/pool.ts). It loads no more than that takes: no
 * database, no providers.
 */
import { enableCompileCache } from 'node:module';
import type { Tasks } from './evaluation/thread.ts';
import { serveTasks, threadData } from './evaluation/thread.ts';
import { type PlainRules, providePlainRules } from './workflows/kinds/plain-rules.ts';

const { compileCache, provided } = threadData();
if (compileCache !== undefined) enableCompileCache(compileCache);
providePlainRules(new Map(provided.workflowRules as [string, PlainRules][]));
const [catalog, settings, workflows] = await Promise.all([
  import('./catalog/tasks.ts'),
  import('./workspaces/settings-tasks.ts'),
  import('./workflows/tasks.ts'),
]);
const tasks: Tasks = { ...catalog.CATALOG_TASKS, ...settings.SETTINGS_TASKS, ...workflows.WORKFLOW_TASKS };
serveTasks(tasks);
