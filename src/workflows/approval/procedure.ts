import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import { WORKFLOW_QUEUE } from '../queue.ts';
import type { Runtime } from '../running/runtime.ts';
import { type Decision, readDecision } from '../running/store.ts';
import { createWake } from '../running/wake.ts';

interface ApprovalInput {
  workflow_id: string;
  position: number;
  message: string | null;
}

/** How often a decision is looked for although nobody told of one. Milliseconds. */
const FALLBACK_MS = 10_000;

/** Waits until somebody approves or rejects, however long that takes. */
export function approvalProcedure(runtime: Runtime): Procedure {
  return defineProcedure<ApprovalInput>({
    kind: 'workflow.approval',
    queue: () => WORKFLOW_QUEUE,
    async run({ workflow_id: workflowId, position, message }, { step, finish, operationId }) {
      const decision = await step<Decision>(
        'wait for a decision',
        async (call) => {
          const { services, follower } = runtime;
          await call.log(message === null ? 'Waiting for an approval.' : `Waiting for an approval: ${message}`);
          const wake = createWake(follower);
          wake.watch(operationId);
          try {
            for (;;) {
              const made = await readDecision(services.db, workflowId, position);
              if (made !== null) return made;
              await wake.wait(new Date(Date.now() + FALLBACK_MS), call.signal);
              call.signal.throwIfAborted();
            }
          } finally {
            wake.close();
          }
        },
        { deadline: Number.POSITIVE_INFINITY },
      );
      if (!decision.approved) {
        const why = decision.comment === null ? '' : `: ${decision.comment}`;
        throw new OperationError('REJECTED', `${decision.by} rejected it${why}`);
      }
      return finish(async () => ({ approved: true, by: decision.by, at: decision.at, comment: decision.comment }));
    },
  });
}
