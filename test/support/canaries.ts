import assert from 'node:assert/strict';
import type pg from 'pg';

/**
 * Asserts that none of the secrets stands in any row of any table, as text or as bytes.
 * @param secrets by a name for the message.
 */
export async function assertNotStored(pool: pg.Pool, secrets: Record<string, string>): Promise<void> {
  const tables = await pool.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`,
  );
  assert.ok(tables.rows.length > 10);
  for (const { name: table } of tables.rows) {
    const { rows } = await pool.query<{ row: string }>(`select row_to_json(t)::text as row from ${table} t`);
    for (const { row } of rows) assertFree(row, secrets, `in a row of ${table}`);
  }
}

/** Asserts that a text holds none of the secrets, neither as they are nor in base64 or hexadecimal. */
export function assertFree(text: string, secrets: Record<string, string>, where: string): void {
  for (const [name, secret] of Object.entries(secrets)) {
    const bytes = Buffer.from(secret);
    for (const form of [secret, bytes.toString('base64').replace(/=+$/, ''), bytes.toString('hex')]) {
      assert.ok(!text.includes(form), `the ${name} stands ${where}`);
    }
  }
}
