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

/** Says that the rows up to `through` were deleted by retention, after they had been exported. */
export interface AuditRetention {
  /** Id of the installation. */
  installation: string;
  /** Position of the last row that was deleted; the checkpoint of this position is kept. */
  through: number;
  /** Of that row. Hexadecimal, as is `mac`. */
  hash: string;
  /** UTC, to the microsecond. */
  at: string;
  /** Where the rows had been exported to. */
  exported_to: string;
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

/**
 * A line of an export. A checkpoint comes behind the row of its position. A retention record comes first, before the
 * checkpoint from which what is left goes on. `valid`: the server's own word for it.
 */
export type AuditLine =
  | AuditRowLine
  | ({ kind: 'checkpoint'; valid?: boolean } & AuditCheckpoint)
  | ({ kind: 'retention'; valid?: boolean } & AuditRetention);

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

/** What a retention record's `mac` is made over. */
export function retentionText({ installation, through, hash, at, exported_to }: Omit<AuditRetention, 'mac'>): string {
  return `${['provisioning audit retention v1', installation, through, hash, at, exported_to].join('\n')}\n`;
}

/** HMAC-SHA-256, hexadecimal. */
export function auditMac(key: Buffer, text: string): string {
  return createHmac('sha256', key).update(text).digest('hex');
}

/** Whether it was made with the key. @param mac hexadecimal */
export function isGenuine(key: Buffer, text: string, mac: string): boolean {
  const given = Buffer.from(mac, 'hex');
  const right = Buffer.from(auditMac(key, text), 'hex');
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
  /** The rows up to here were deleted by retention, as a record under the key says; null: none were. */
  deleted_through: number | null;
  /** Where these had been exported to. */
  exported_to: string | null;
  /** Whether the noted checkpoint was compared; null: none was given. */
  compared: boolean | null;
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
 * @param options.from where the lines go on; absent: they begin with row 1, or say why not.
 */
export function createVerifier(options: {
  key: Buffer | null;
  noted: AuditCheckpoint | null;
  from?: Pick<AuditCheckpoint, 'position' | 'hash'>;
}): AuditVerifier {
  const { key, noted, from = { position: 0, hash: '' } } = options;
  /** Hashes of the last rows by position, so that a repetition is known as one. */
  const seen = new Map<number, string>([[from.position, from.hash]]);
  /** The last checkpoints, whole, by position. */
  const seenCheckpoints = new Map<number, string>();
  const report: AuditReport = {
    ...{ ok: true, problem: null, rows: 0, first: null, last: null, checkpoints: 0 },
    ...{ judged_by: key === null ? 'nobody' : 'key', vouched_from: null, vouched_to: null },
    ...{ deleted_through: null, exported_to: null, compared: noted === null ? null : false },
  };
  /** Of the last row, or of the checkpoint that follows what retention has deleted. */
  let head = from;
  let last: AuditCheckpoint | null = null;
  let deleted: AuditRetention | null = null;

  const wrong = (problem: string): false => {
    report.ok = false;
    report.problem ??= problem;
    return false;
  };
  const isMade = (text: string, { mac, valid }: { mac: string; valid?: boolean }): boolean => {
    if (key !== null) return isGenuine(key, text, mac);
    if (valid !== undefined) report.judged_by = 'server';
    return valid !== false;
  };
  const reach = (position: number, hash: string): boolean => {
    head = { position, hash };
    seen.set(position, hash);
    seen.delete(position - REMEMBERED);
    if (noted?.position !== position) return true;
    report.compared = true;
    return noted.hash === hash || wrong(`Row ${position} is not the one that the noted checkpoint vouches for.`);
  };
  const takeRow = (row: AuditRowLine): boolean => {
    const { position } = row;
    const repeated = position <= head.position && seen.get(position) === row.hash;
    if (!repeated && position <= head.position) return wrong(`Row ${position} comes twice, and not as it was before.`);
    if (!repeated && position !== head.position + 1)
      return wrong(`Row ${head.position + 1} is missing: row ${position} follows.`);
    const previous = seen.get(position - 1);
    if (previous === undefined) return wrong(`Row ${position} cannot be told: the row before it is not here.`);
    const hash = linkHash(Buffer.from(previous, 'hex'), row.sealed).toString('hex');
    if (hash !== row.hash) return wrong(`Row ${position} is not what was sealed.`);
    if (!saysTheSame(row)) return wrong(`Row ${position} has fields that differ from what was sealed.`);
    if (repeated) return true;
    report.rows += 1;
    report.first ??= position;
    report.last = position;
    return reach(position, hash);
  };
  const takeRetention = (retention: AuditRetention & { valid?: boolean }): boolean => {
    const { through } = retention;
    if (!isMade(retentionText(retention), retention))
      return wrong(
        `The record that rows up to ${through} were deleted was not made with the key of this installation.`,
      );
    deleted = retention;
    return true;
  };
  /** Goes on behind what retention has deleted. */
  const skipTo = ({ number, position, hash, installation }: AuditCheckpoint): boolean => {
    if (deleted?.through !== position || deleted.hash !== hash || deleted.installation !== installation)
      return wrong(
        `Rows ${head.position + 1} to ${position} are gone before checkpoint ${number}, and nothing says why.`,
      );
    last = null;
    report.deleted_through = position;
    report.exported_to = deleted.exported_to;
    return reach(position, hash);
  };
  const takeCheckpoint = (checkpoint: AuditCheckpoint & { valid?: boolean }): boolean => {
    const { number, position, hash, since, mac } = checkpoint;
    const text = checkpointText(checkpoint);
    if (seenCheckpoints.get(position) === text + mac) return true;
    if (!isMade(text, checkpoint))
      return wrong(`Checkpoint ${number} (row ${position}) was not made with the key of this installation.`);
    if (position > head.position) {
      if (!skipTo(checkpoint)) return false;
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
    } else if (report.deleted_through === null && number !== 1) {
      return wrong(`Checkpoint 1 is missing: checkpoint ${number} follows.`);
    }
    last = checkpoint;
    seenCheckpoints.set(position, text + mac);
    if (seenCheckpoints.size > REMEMBERED) seenCheckpoints.delete(seenCheckpoints.keys().next().value ?? 0);
    report.checkpoints += 1;
    report.vouched_from = since;
    report.vouched_to = position;
    return true;
  };
  const takeLine = (line: AuditLine): boolean => {
    if (line.kind === 'row') return takeRow(line);
    return line.kind === 'checkpoint' ? takeCheckpoint(line) : takeRetention(line);
  };

  return {
    take: (line) => report.ok && takeLine(line),
    end() {
      if (noted !== null && key !== null && !isGenuine(key, checkpointText(noted), noted.mac)) {
        wrong('The noted checkpoint was not made with the key of this installation.');
      }
      if (noted !== null && noted.position > head.position)
        wrong(
          `The log ends at row ${head.position}, but the noted checkpoint vouches for row ${noted.position}: rows were cut off.`,
        );
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
