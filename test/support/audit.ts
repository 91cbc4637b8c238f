import { readAuditLines } from '../../src/access/audit-log.ts';
import type { Database } from '../../src/database/pool.ts';
import { type AuditReport, createVerifier } from '../../src/documents/audit-chain.ts';
import { readInstallationId } from '../../src/providers/installation.ts';
import { until } from './server.ts';

/** Walks the whole chain and its checkpoints. Whether these are genuine is not decided. */
export async function verifyAudit(db: Database): Promise<AuditReport> {
  const verifier = createVerifier({ key: null, noted: null });
  const installation = await readInstallationId(db);
  for (const line of await readAuditLines(db, installation, 0, 1_000_000)) verifier.take(line);
  return verifier.end();
}

/** The same once the server has vouched for what an earlier version has sealed. */
export async function verifyAuditOnceVouched(db: Database): Promise<AuditReport> {
  let report = await verifyAudit(db);
  const vouched = async () => {
    report = await verifyAudit(db);
    return !report.problem?.startsWith('No checkpoint vouches');
  };
  await until(vouched, 'a checkpoint');
  return report;
}
