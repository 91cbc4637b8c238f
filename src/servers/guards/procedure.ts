import { defineProcedure, type Procedure } from '../../engine/procedure.ts';
import { OBSERVE_QUEUE } from '../refresh/procedure.ts';
import { type Guards, takeBackGuards } from './store.ts';

/** What guards something, as stored. */
export interface GuardInput {
  id: string;
  /** Absent: as it was. */
  set: { protect?: boolean; expires_at?: string | null };
  before: { protect: boolean; expires_at: string | null };
}

/** Tells what was set when the request was accepted. Cancelled before that, it is taken back. */
export function guardProcedure(type: 'server' | 'taskserv'): Procedure {
  return defineProcedure<GuardInput>({
    kind: `${type}.guard`,
    queue: () => OBSERVE_QUEUE,
    run: ({ id, set }, { finish }) => finish(async () => ({ [`${type}_id`]: id, ...set })),
    async compensate(tx, { id, set, before }) {
      const { protect, expiresAt } = guardsOf(before);
      await takeBackGuards(tx, `${type}s`, id, guardsOf(set), {
        protect: protect ?? false,
        expiresAt: expiresAt ?? null,
      });
      return null;
    },
  });
}

function guardsOf({ protect, expires_at: time }: GuardInput['set']): Guards {
  return {
    ...(protect === undefined ? {} : { protect }),
    ...(time === undefined ? {} : { expiresAt: time === null ? null : new Date(time) }),
  };
}
