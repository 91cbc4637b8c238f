import type { Database } from './database/pool.ts';
import type { Engine } from './engine/engine.ts';
import type { Procedure } from './engine/procedure.ts';
import type { Reach } from './outbound/reach.ts';
import type { ProviderRegistry } from './providers/registry.ts';
import { adoptProcedure } from './servers/procedures/adopt.ts';
import { createProcedure } from './servers/procedures/create.ts';
import { cleanupProcedure, deleteProcedure } from './servers/procedures/delete.ts';
import { importProcedure } from './servers/procedures/import.ts';
import { orphanDeleteProcedure } from './servers/procedures/orphan-delete.ts';
import { powerProcedure } from './servers/procedures/power.ts';
import { reconcileProcedure } from './servers/procedures/reconcile.ts';
import { refreshProcedure } from './servers/procedures/refresh.ts';
import { repairProcedure } from './servers/procedures/repair.ts';
import type { SshTools } from './servers/ssh-way.ts';
import { checkProcedure } from './taskservs/procedures/check.ts';
import type { HostTools } from './taskservs/procedures/input.ts';
import { createProcedure as createTaskservProcedure, retryProcedure } from './taskservs/procedures/install.ts';
import { reconcileProcedure as reconcileTaskservProcedure } from './taskservs/procedures/reconcile.ts';
import { deleteProcedure as deleteTaskservProcedure } from './taskservs/procedures/remove.ts';

import { approvalProcedure } from './workflows/procedures/approval.ts';
import { commandProcedure } from './workflows/procedures/command.ts';
import { rollbackProcedure } from './workflows/procedures/rollback.ts';
import { workflowProcedure } from './workflows/procedures/run.ts';
import { waitProcedure } from './workflows/procedures/wait.ts';
import type { Runtime } from './workflows/running/runtime.ts';

/**
 * Every procedure there is. Their kinds are a persisted contract: one is never renamed.
 * @param runtime what procedures of workflows work with: the server itself, once it has been put together.
 * @param reach where wait nodes of workflows may look.
 */
export function allProcedures(
  db: Database,
  providers: ProviderRegistry,
  sshTools: SshTools,
  hostTools: HostTools,
  runtime: Promise<Runtime>,
  reach: Reach,
): Procedure[] {
  const engine: Promise<Engine> = runtime.then(({ services }) => services.engine);
  // A start that fails says so itself.
  engine.catch(() => 'the server did not come up');
  return [
    createProcedure(providers, sshTools.seal),
    deleteProcedure(providers),
    cleanupProcedure(providers),
    powerProcedure(providers, 'start'),
    powerProcedure(providers, 'stop'),
    powerProcedure(providers, 'restart'),
    reconcileProcedure(providers),
    importProcedure(sshTools),
    adoptProcedure(db, providers),
    orphanDeleteProcedure(db, providers),
    refreshProcedure(db, providers, engine),
    repairProcedure(db, providers, sshTools.seal),
    createTaskservProcedure(hostTools),
    retryProcedure(hostTools),
    deleteTaskservProcedure(hostTools),
    checkProcedure(hostTools),
    reconcileTaskservProcedure(hostTools),
    workflowProcedure(runtime),
    rollbackProcedure(runtime),
    approvalProcedure(runtime),
    waitProcedure(reach),
    commandProcedure(hostTools),
  ];
}
