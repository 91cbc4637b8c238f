/**
 * What the audit log's rows are chained by, and the checkpoints that vouch for the chain. docs/guides/audit.md has the exact
 * bytes, so that anybody can write another verifier. Imports nothing of the server: the command line verifies with it too.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** Vouches for all rows from `since` to `position`: nobody makes one without the key, which the database does not have. */
export interface AuditCheckpoint {
  /** Id of the installation. */
  installation: string;
  /** 1, 2, 3 and so on: one that is taken out leaves a gap. */
  number: number;
  since: number;
  position: number;
  /** Of the row at `position`. Hexadecimal, as are `previous` and `mac`. */
  hash: string;
  /** UTC, to the microsecond. */
  at: string;
  /** `mac` of the checkpoint before; null: there is none. */
  previous: string | null;
  mac: string;
}

/** A sealed row. `sealed` is the text that was hashed; the other fields say the same by name. */
export interface AuditRowLine {
  kind: 'row';
  position: number;
  hash: string;
  sealed: string;
  id: string;
  at: string;
  principal: string;
  action: string;
  workspace: string | null;
  resource: string | null;
  outcome: string;
  address: string | null;
  request_id: string | null;
  operation_id: string | null;
  details: unknown;
}

/** A line of an export. A checkpoint comes behind the row of its position. `valid`: the server's own word for it. */
export type AuditLine = AuditRowLine | ({ kind: 'checkpoint'; valid?: boolean } & AuditCheckpoint);

/** In the order in which `sealed` holds them. */
const SEALED_FIELDS = [
  ...(['id', 'at', 'principal', 'action', 'workspace', 'resource', 'outcome', 'address'] as const),
  ...(['request_id', 'operation_id', 'details'] as const),
];
/** An export repeats what it could not note as delivered: so many lines back a repetition is known as one. */
const REMEMBERED = 5_000;

/** The hash of a row. @param previous that of the row before; empty: there is none. */
export function linkHash(previous: Buffer, sealed: string): Buffer {
  return createHash('sha256').update(previous).update(sealed).digest();
}

/** What a checkpoint's `mac` is made over. */
export function checkpointText(checkpoint: Omit<AuditCheckpoint, 'mac'>): string {
  const { installation, number, since, position, hash, at, previous } = checkpoint;
  const lines = ['provisioning audit checkpoint v1', installation, number, since, position, hash, at, previous ?? ''];
  return `${lines.join('\n')}\n`;
}

/** HMAC-SHA-256, hexadecimal. */
export function checkpointMac(key: Buffer, checkpoint: Omit<AuditCheckpoint, 'mac'>): string {
  return createHmac('sha256', key).update(checkpointText(checkpoint)).digest('hex');
}

export function isGenuine(key: Buffer, checkpoint: AuditCheckpoint): boolean {
  const given = Buffer.from(checkpoint.mac, 'hex');
  const right = Buffer.from(checkpointMac(key, checkpoint), 'hex');
  return given.length === right.length && timingSafeEqual(given, right);
}

/** What a verification found. */
export interface AuditReport {
  ok: boolean;
  /** What is wrong, where; null: nothing. */
  problem: string | null;
  /** Rows looked at, the first and the last of them by position. */
  rows: number;
  first: number | null;
  last: number | null;
  checkpoints: number;
  /** Who says that the checkpoints are genuine: the key that was given, the server, or nobody. */
  judged_by: 'key' | 'server' | 'nobody';
  /** Checkpoints vouch for the rows from here on; null: there is none. */
  vouched_from: number | null;
  /** And up to here. */
  vouched_to: number | null;
}

/** Takes the lines of an export one by one, in their order. */
interface AuditVerifier {
  /** @returns false once something is wrong: more lines change nothing. */
  take(line: AuditLine): boolean;
  end(): AuditReport;
}

/**
 * @param options.key of the checkpoints; null: the server's word is taken, where there is one.
 * @param options.noted a checkpoint kept elsewhere, which the log must still hold.
 */
export function createVerifier(options: { key: Buffer | null; noted: AuditCheckpoint | null }): AuditVerifier {
  const { key, noted } = options;
  const seen = new Map<number, string>();
  const report: AuditReport = {
    ...{ ok: true, problem: null, rows: 0, first: null, last: null, checkpoints: 0 },
    ...{ judged_by: key === null ? 'nobody' : 'key', vouched_from: null, vouched_to: null },
  };
  /** Of the last row, or of the checkpoint that an export begins with. */
  let head: { position: number; hash: string } | null = null;
  let last: AuditCheckpoint | null = null;
  let notedFound = false;

  const wrong = (problem: string): false => {
    report.ok = false;
    report.problem ??= problem;
    return false;
  };
  const reach = (position: number, hash: string): boolean => {
    head = { position, hash };
    seen.set(position, hash);
    seen.delete(position - REMEMBERED);
    if (noted?.position !== position) return true;
    notedFound = true;
    return noted.hash === hash || wrong(`Row ${position} is not the one that the noted checkpoint vouches for.`);
  };
  const takeRow = (row: AuditRowLine): boolean => {
    const { position } = row;
    if (seen.get(position) === row.hash) return true;
    if (head === null && position !== 1)
      return wrong(`The log begins at row ${position}, and no checkpoint stands before it.`);
    const before: { position: number; hash: string } = head ?? { position: 0, hash: '' };
    if (position !== before.position + 1)
      return wrong(`Row ${before.position + 1} is missing: row ${position} follows.`);
    const hash = linkHash(Buffer.from(before.hash, 'hex'), row.sealed).toString('hex');
    if (hash !== row.hash) return wrong(`Row ${position} is not what was sealed.`);
    if (!saysTheSame(row)) return wrong(`Row ${position} has fields that differ from what was sealed.`);
    report.rows += 1;
    report.first ??= position;
    report.last = position;
    return reach(position, hash);
  };
  const takeCheckpoint = (checkpoint: AuditCheckpoint & { valid?: boolean }): boolean => {
    const { number, position, hash, since, valid } = checkpoint;
    if (last !== null && checkpoint.mac === last.mac) return true;
    if (key === null && valid !== undefined) report.judged_by = 'server';
    if (key === null ? valid === false : !isGenuine(key, checkpoint))
      return wrong(`Checkpoint ${number} (row ${position}) was not made with the key of this installation.`);
    if (head === null) {
      if (!reach(position, hash)) return false;
    } else if (head.position !== position || head.hash !== hash) {
      return wrong(`Checkpoint ${number} vouches for another row ${position} than the log holds.`);
    }
    if (last !== null) {
      if (last.installation !== checkpoint.installation)
        return wrong(`Checkpoint ${number} is another installation's.`);
      if (number !== last.number + 1 || checkpoint.previous !== last.mac)
        return wrong(`Checkpoint ${last.number + 1} is missing: checkpoint ${number} follows.`);
      if (since !== last.since)
        return wrong(
          `Checkpoint ${number} vouches only from row ${since} on: when it was made, the rows before were not those of checkpoint ${last.number}.`,
        );
    }
    last = checkpoint;
    report.checkpoints += 1;
    report.vouched_from = since;
    report.vouched_to = position;
    return true;
  };

  return {
    take: (line) => report.ok && (line.kind === 'row' ? takeRow(line) : takeCheckpoint(line)),
    end() {
      if (noted !== null && key !== null && !isGenuine(key, noted)) {
        wrong('The noted checkpoint was not made with the key of this installation.');
      }
      if (noted !== null && !notedFound) {
        const through = report.last ?? report.vouched_to ?? 0;
        if (noted.position > through)
          wrong(
            `The log ends at row ${through}, but the noted checkpoint vouches for row ${noted.position}: rows were cut off.`,
          );
      }
      if (report.last !== null && (report.vouched_to ?? 0) < report.last)
        wrong(`No checkpoint vouches for the rows from ${(report.vouched_to ?? 0) + 1} to ${report.last}.`);
      return report;
    },
  };
}

/** Whether the named fields are those of the text that was hashed. */
function saysTheSame(row: AuditRowLine): boolean {
  let sealed: unknown;
  try {
    sealed = JSON.parse(row.sealed);
  } catch {
    return false;
  }
  if (!Array.isArray(sealed) || sealed.length !== SEALED_FIELDS.length) return false;
  return SEALED_FIELDS.every((field, index) => JSON.stringify(row[field]) === JSON.stringify(sealed[index]));
}
