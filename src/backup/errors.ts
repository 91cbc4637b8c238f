/** A backup that cannot be made or restored. The message says why, and what to do. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
}

export function damaged(file: string): BackupError {
  return new BackupError(`${file} is damaged or cut off. Nothing was restored from it; take another backup.`);
}
