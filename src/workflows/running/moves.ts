import { backoff as exponential } from '../../util/backoff.ts';
import type { NodeState } from './scheduler.ts';
import type { EndedOperation, NodeMove } from './store.ts';
import type { Refusal } from './submit.ts';

/** What becomes of a node whose operation has ended. @param stopping nothing new is started any more. */
export function nextMove(node: NodeState, operation: EndedOperation, stopping: boolean): NodeMove {
  const { position, attempt, timedOut } = node;
  const move = { position, attempt, error: null, errorCode: null, cleanupId: operation.cleanupId, nextAttemptAt: null };
  if (operation.status === 'completed') return { ...move, status: 'completed' };
  const { maxAttempts, timeout } = node.step.planned.settings;
  if (operation.status === 'cancelled' && !timedOut) {
    return { ...move, status: 'cancelled', error: 'its operation was cancelled' };
  }
  const errorCode = timedOut ? 'TIMED_OUT' : operation.errorCode;
  const error = timedOut ? `It did not end within ${timeout} s.` : (operation.error ?? 'It failed.');
  if (stopping || attempt >= maxAttempts) return { ...move, status: 'failed', error, errorCode };
  return { ...move, status: 'retrying', error, errorCode, nextAttemptAt: nextAttempt(node, attempt) };
}

/** What becomes of a node that could not be submitted: that was a try as well. */
export function refusedMove({ node, message, code, retryable }: Refusal): NodeMove {
  const attempt = node.attempt + 1;
  const refused = { error: message, errorCode: code };
  const move = { position: node.position, attempt, ...refused, cleanupId: node.cleanupId, nextAttemptAt: null };
  if (!retryable || attempt >= node.step.planned.settings.maxAttempts) return { ...move, status: 'failed' };
  return { ...move, status: 'retrying', nextAttemptAt: nextAttempt(node, attempt) };
}

/** Linear: n × the first delay. */
function nextAttempt(node: NodeState, attempt: number): Date {
  const { backoff, initialDelay, maxDelay } = node.step.planned.settings;
  const delay =
    backoff === 'linear'
      ? Math.min(maxDelay, initialDelay * attempt)
      : exponential(attempt, { first: initialDelay, most: maxDelay });
  return new Date(Date.now() + delay * 1_000);
}
