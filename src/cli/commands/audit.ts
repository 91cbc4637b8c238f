import { open, readFile } from 'node:fs/promises';
import {
  type AuditCheckpoint,
  type AuditLine,
  type AuditReport,
  checkpointText,
  createVerifier,
} from '../../documents/audit-chain.ts';
import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, text } from '../command.ts';
import { ConflictError, UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';

/** Rows asked for at once. */
const PAGE = 1_000;
const KEY_BYTES = 32;

/** Who did what, and whether the log of it can be believed. */
export const auditCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'audit',
    summary: 'show who changed what or was refused, newest first',
    examples: ['provisioning audit --outcome denied', 'provisioning audit --principal dev.one --limit 20'],
    path: '/v1/audit',
    filters: {
      principal: 'only by this user',
      action: 'only this action, such as server.create',
      workspace: 'only in this workspace',
      outcome: 'allowed, denied or failed',
      operation_id: 'only the action that started this operation',
    },
    view: {
      columns: [
        field('created_at', 'time'),
        field('principal'),
        field('action'),
        field('workspace'),
        field('resource'),
        field('outcome'),
        field('address'),
      ],
      name: 'id',
    },
  }),
  {
    name: 'audit checkpoint',
    summary: 'show the newest checkpoint of the audit log',
    description: `Store it in a place that people with access to the database cannot change. "provisioning audit verify --checkpoint FILE" then
detects earlier rows that were changed or cut off.`,
    examples: ['provisioning audit checkpoint -o json > checkpoint.json'],
    covers: ['GET /v1/audit/checkpoint'],
    async run(session) {
      session.record(await (await session.client()).get('/v1/audit/checkpoint'), { name: 'mac' });
    },
  },
  {
    name: 'audit export',
    summary: 'write the sealed audit log as JSON lines',
    examples: ['provisioning audit export audit.jsonl', 'provisioning audit export more.jsonl --after 120000'],
    arguments: [{ name: 'file', description: 'file to create, or - for standard output' }],
    options: [{ flags: '--after <position>', description: 'only rows after this position', default: '0' }],
    covers: ['GET /v1/audit/export'],
    plain: 'what it prints is the export',
    async run(session, [file = '-'], options) {
      const after = Number(text(options, 'after'));
      if (!Number.isInteger(after) || after < 0) throw new UsageError('--after must be a whole number.');
      const client = await session.client();
      const output = file === '-' ? null : await open(file, 'wx', 0o600).catch(cannotUse(file));
      let rows = 0;
      try {
        for await (const page of pages(client, after)) {
          const lines = page.map((line) => `${JSON.stringify(withoutJudgement(line))}\n`).join('');
          if (output === null) session.terminal.out(lines);
          else await output.appendFile(lines);
          await session.terminal.drained();
          rows += page.filter(({ kind }) => kind === 'row').length;
        }
        await output?.datasync();
      } finally {
        await output?.close();
      }
      session.terminal.note(`Exported ${rows} rows.`);
    },
  },
  {
    name: 'audit verify',
    summary: 'check the audit log for tampering',
    description: `Verifies the hash chain of all rows and compares it with the checkpoints: those of the server or, with --file, those of an
export, without a server. With --key-file the checkpoints are verified here; run "provisioning audit-key" on the server to
get the key. Without it, the server's own verification is trusted. Rows cut off at the end are detected only with
--checkpoint and a checkpoint that was stored elsewhere.`,
    examples: [
      'provisioning audit verify --checkpoint noted.json',
      'provisioning audit verify --file audit.jsonl --key-file audit.key',
    ],
    options: [
      { flags: '--file <export>', description: 'verify this export instead of the server' },
      { flags: '--key-file <file>', description: 'file with the key of the checkpoints' },
      {
        flags: '--chain-only',
        description: 'with --file: verify without the key, so a forged file is not detected',
      },
      { flags: '--checkpoint <file>', description: 'file with a checkpoint that was stored earlier' },
    ],
    covers: ['GET /v1/audit/export'],
    async run(session, _args, options) {
      const [file, keyFile, notedFile] = ['file', 'keyFile', 'checkpoint'].map((name) => text(options, name));
      if (file !== undefined && keyFile === undefined && options.chainOnly !== true)
        throw new UsageError(
          'Without --key-file a forged export cannot be detected. Give --key-file, or --chain-only to accept this.',
        );
      const key = keyFile === undefined ? null : await readKey(keyFile);
      const noted = notedFile === undefined ? null : await readCheckpoint(notedFile);
      const verifier = createVerifier({ key, noted });
      const source = file === undefined ? pages(await session.client(), 0) : linesOf(file);
      walk: for await (const page of source) for (const line of page) if (!verifier.take(line)) break walk;
      const report = verifier.end();
      session.record(report, { name: 'ok' });
      if (!report.ok) throw new ConflictError(`The audit log failed verification. ${report.problem}`);
      if (file !== undefined && report.rows + report.checkpoints === 0)
        throw new ConflictError(`The audit log failed verification. ${file} is empty.`);
      for (const caveat of caveatsOf(report)) session.terminal.note(caveat);
    },
  },
];

function caveatsOf(report: AuditReport): string[] {
  const { judged_by: judge, vouched_from: from, first, deleted_through: deleted, compared } = report;
  return [
    ...(judge === 'nobody' ? ['Not verified: the checkpoints. Give --key-file.'] : []),
    ...(judge === 'server' ? ['The server verified the checkpoints. Give --key-file to verify them here.'] : []),
    ...(from !== null && first !== null && from > first
      ? [`Rows ${first} to ${from - 1} are in the chain, but were sealed before checkpoints existed.`]
      : []),
    ...(deleted === null
      ? []
      : [
          `Not included: the rows up to ${deleted}. Retention deleted them after their export to ${report.exported_to}.`,
        ]),
    ...(compared === false ? ['Not compared: retention has deleted the row of the given checkpoint.'] : []),
    ...(compared === null
      ? [
          'Not verified: whether rows were cut off at the end. Give --checkpoint with a checkpoint that was stored elsewhere.',
        ]
      : []),
  ];
}

async function* pages(client: Client, after: number): AsyncGenerator<AuditLine[]> {
  for (let position = after; ; ) {
    const page: AuditLine[] = await client.get('/v1/audit/export', { query: { after: position, limit: PAGE } });
    const last = page.findLast((line) => line.kind === 'row');
    if (last === undefined) return;
    yield page;
    position = last.position;
  }
}

/** An export holds what can be verified, not what the server says of it. */
function withoutJudgement(line: AuditLine): AuditLine {
  if (line.kind === 'row') return line;
  const { valid: _, ...made } = line;
  return made;
}

async function* linesOf(file: string): AsyncGenerator<AuditLine[]> {
  const handle = await open(file).catch(cannotUse(file));
  let number = 0;
  for await (const line of handle.readLines()) {
    number += 1;
    yield [parseLine(line, `${file} line ${number}`)];
  }
}

function parseLine(line: string, place: string): AuditLine {
  try {
    const parsed = JSON.parse(line) as AuditLine;
    if (parsed.kind === 'row' && typeof parsed.sealed === 'string') return parsed;
    if ((parsed.kind === 'checkpoint' || parsed.kind === 'retention') && typeof parsed.mac === 'string') return parsed;
  } catch {
    // Told below: it is not JSON.
  }
  throw new ConflictError(`The audit log failed verification. ${place} is not a line of an export.`);
}

async function readKey(file: string): Promise<Buffer> {
  const hex = (await readFile(file, 'utf8').catch(cannotUse(file))).trim();
  if (/^[0-9a-f]+$/i.test(hex) && hex.length === KEY_BYTES * 2) return Buffer.from(hex, 'hex');
  throw new UsageError(
    `${file} does not contain a key of ${KEY_BYTES * 2} hexadecimal digits. Create it with: provisioning audit-key`,
  );
}

async function readCheckpoint(file: string): Promise<AuditCheckpoint> {
  const content = await readFile(file, 'utf8').catch(cannotUse(file));
  try {
    const checkpoint = JSON.parse(content) as AuditCheckpoint;
    if (Number.isInteger(checkpoint.position) && checkpointText(checkpoint).includes(checkpoint.hash))
      return checkpoint;
  } catch {
    // Told below: it is not JSON.
  }
  throw new UsageError(`${file} does not contain a checkpoint. Create it with: provisioning audit checkpoint -o json`);
}

function cannotUse(file: string) {
  return (error: unknown): never => {
    throw new UsageError(`Cannot use ${file}: ${error instanceof Error ? error.message : String(error)}`);
  };
}
