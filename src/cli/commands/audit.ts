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
    summary: 'show who changed what, or was refused, the newest first',
    examples: ['provisioning audit --outcome denied', 'provisioning audit --principal dev.one --limit 20'],
    path: '/v1/audit',
    filters: {
      principal: 'only of this user',
      action: 'only this action, such as server.create',
      workspace: 'only in this workspace',
      outcome: 'allowed, denied or failed',
      operation_id: 'only what set off this operation',
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
    summary: 'show the newest checkpoint of the audit log, to be noted elsewhere',
    description: `Keep it where whoever can write to the database cannot: "provisioning audit verify --checkpoint FILE" then
notices when rows before it were changed or cut off.`,
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
    arguments: [{ name: 'file', description: 'the file to make; -: standard output' }],
    options: [{ flags: '--after <position>', description: 'only rows behind this position', default: '0' }],
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
    summary: 'check that nobody has tampered with the audit log',
    description: `Walks the chain of all rows and compares it with the checkpoints, of the server or, with --file, of an export
without any server. Whether the checkpoints are genuine is decided with --key-file, which "provisioning audit-key" prints
on a machine of the server; without it the server's word is taken. What was cut off the end shows only against a checkpoint
noted elsewhere.`,
    examples: [
      'provisioning audit verify --checkpoint noted.json',
      'provisioning audit verify --file audit.jsonl --key-file audit.key',
    ],
    options: [
      { flags: '--file <export>', description: 'an export to verify instead of the server' },
      { flags: '--key-file <file>', description: 'the key of the checkpoints' },
      {
        flags: '--chain-only',
        description: 'with --file and without the key: whoever wrote the file may have made it up',
      },
      { flags: '--checkpoint <file>', description: 'a checkpoint noted earlier, which must still hold' },
    ],
    covers: ['GET /v1/audit/export'],
    async run(session, _args, options) {
      const [file, keyFile, notedFile] = ['file', 'keyFile', 'checkpoint'].map((name) => text(options, name));
      if (file !== undefined && keyFile === undefined && options.chainOnly !== true)
        throw new UsageError(
          'Without --key-file nothing tells whether an export was made by the server. Give it, or --chain-only.',
        );
      const key = keyFile === undefined ? null : await readKey(keyFile);
      const noted = notedFile === undefined ? null : await readCheckpoint(notedFile);
      const verifier = createVerifier({ key, noted });
      const source = file === undefined ? pages(await session.client(), 0) : linesOf(file);
      walk: for await (const page of source) for (const line of page) if (!verifier.take(line)) break walk;
      const report = verifier.end();
      session.record(report, { name: 'ok' });
      if (!report.ok) throw new ConflictError(`The audit log cannot be believed. ${report.problem}`);
      if (file !== undefined && report.rows + report.checkpoints === 0)
        throw new ConflictError(`The audit log cannot be believed. ${file} is empty.`);
      for (const caveat of caveatsOf(report)) session.terminal.note(caveat);
    },
  },
];

function caveatsOf(report: AuditReport): string[] {
  const { judged_by: judge, vouched_from: from, first, deleted_through: deleted, compared } = report;
  return [
    ...(judge === 'nobody' ? ['Not decided: whether the checkpoints are genuine. Give --key-file.'] : []),
    ...(judge === 'server'
      ? ["The server's word was taken for the checkpoints. Give --key-file to decide it here."]
      : []),
    ...(from !== null && first !== null && from > first
      ? [`Rows ${first} to ${from - 1} are chained, but were sealed before there were checkpoints.`]
      : []),
    ...(deleted === null
      ? []
      : [`Not here: the rows up to ${deleted}. Retention deleted them after their export to ${report.exported_to}.`]),
    ...(compared === false ? ['Not compared: the noted checkpoint is of a row that retention has deleted.'] : []),
    ...(compared === null
      ? ['Not decided: whether rows were cut off the end. Give --checkpoint with one noted elsewhere.']
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
  throw new ConflictError(`The audit log cannot be believed. ${place} is no line of an export.`);
}

async function readKey(file: string): Promise<Buffer> {
  const hex = (await readFile(file, 'utf8').catch(cannotUse(file))).trim();
  if (/^[0-9a-f]+$/i.test(hex) && hex.length === KEY_BYTES * 2) return Buffer.from(hex, 'hex');
  throw new UsageError(
    `${file} holds no key: ${KEY_BYTES * 2} hexadecimal digits. Make it with: provisioning audit-key`,
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
  throw new UsageError(`${file} holds no checkpoint. Make it with: provisioning audit checkpoint -o json`);
}

function cannotUse(file: string) {
  return (error: unknown): never => {
    throw new UsageError(`${file} cannot be used: ${error instanceof Error ? error.message : String(error)}`);
  };
}
