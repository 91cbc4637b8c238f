/**
 * Places in the feed over all operations. Events are ordered by the transaction that wrote them, which is an order of
 * commit for a reader that takes only what lies below its snapshot's xmin.
 */
import { errors } from '../errors.ts';
import { isUuid } from './schemas.ts';

/** A place in the feed: behind the event with these three, or between events. */
export interface Position {
  /** The id of the transaction that wrote the event (Postgres `xid8`). */
  xid: bigint;
  /** In lower case. */
  operationId: string;
  seq: number;
}

const LOWEST_ID = '00000000-0000-0000-0000-000000000000';
const MAX_XID = 2n ** 64n - 1n;
const MAX_SEQ = 2 ** 31 - 1;

/** The place before everything that this transaction or a later one wrote. */
export function positionBefore(xid: bigint): Position {
  return { xid, operationId: LOWEST_ID, seq: 0 };
}

/** Below 0: `a` comes first. 0: the same place. */
export function comparePositions(a: Position, b: Position): number {
  if (a.xid !== b.xid) return a.xid < b.xid ? -1 : 1;
  // Postgres orders UUIDs by their bytes, which is the order of their lower-case text.
  if (a.operationId !== b.operationId) return a.operationId < b.operationId ? -1 : 1;
  return a.seq - b.seq;
}

/** As event id: `<xid>.<operation id>.<seq>`. */
export function positionText({ xid, operationId, seq }: Position): string {
  return `${xid}.${operationId}.${seq}`;
}

/** @throws 400 where the text is no event id of the feed. */
export function parsePosition(text: string, field: string): Position {
  const [xid = '', operationId = '', seq = '', ...rest] = text.split('.');
  if (/^\d{1,20}$/.test(xid) && isUuid(operationId) && /^\d{1,10}$/.test(seq) && rest.length === 0) {
    const position = { xid: BigInt(xid), operationId: operationId.toLowerCase(), seq: Number(seq) };
    if (position.xid <= MAX_XID && position.seq <= MAX_SEQ) return position;
  }
  throw errors.validation([{ field, message: 'is not the id of an event in this feed' }]);
}

/** @throws 400 where the text is no event id of a single operation: a whole number. */
export function parseSeq(text: string, field: string): number {
  const seq = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (seq <= MAX_SEQ) return seq;
  throw errors.validation([{ field, message: 'is not the id of an event of an operation: a whole number' }]);
}
