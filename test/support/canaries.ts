import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';

/**
 * Asserts that none of the secrets stands in any row of any table, as text or as bytes.
 * @param secrets by a name for the message.
 */
export async function assertNotStored(pool: pg.Pool, secrets: Record<string, string>): Promise<void> {
  await eachRow(pool, (row, table) => assertFree(row, secrets, `in a row of ${table}`));
}

/** Every row of every table, as JSON. */
async function eachRow(pool: pg.Pool, look: (row: string, table: string) => void): Promise<void> {
  const tables = await pool.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`,
  );
  assert.ok(tables.rows.length > 10);
  for (const { name: table } of tables.rows) {
    const { rows } = await pool.query<{ row: string }>(`select row_to_json(t)::text as row from ${table} t`);
    for (const { row } of rows) look(row, table);
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

/**
 * Asserts that no file below a directory holds any of the secrets: given a data directory, that covers the database's
 * own files, its write-ahead log included, and with them every copy of it.
 */
export async function assertNotOnDisk(directory: string, secrets: Record<string, string>): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  assert.ok(files.length > 0);
  for (const file of files) {
    // A running database removes files while they are listed.
    const bytes = await readFile(file).catch(() => Buffer.alloc(0));
    assertFree(bytes.toString('latin1'), secrets, `in ${file}`);
  }
}

/** Asserts that no column of bytes, and no text, holds any of these bytes. */
export async function assertNotStoredAsBytes(pool: pg.Pool, bytes: Record<string, Buffer>): Promise<void> {
  await eachRow(pool, (row, table) => {
    for (const [name, value] of Object.entries(bytes)) {
      for (const form of [value.toString('hex'), value.toString('base64').replace(/=+$/, '')]) {
        assert.ok(!row.includes(form), `the ${name} stands in a row of ${table}`);
      }
    }
  });
}
