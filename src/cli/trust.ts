/** Which authorities the command line believes, for servers whose certificate no public one has signed. */
import { readFile } from 'node:fs/promises';
import * as tls from 'node:tls';
import { UsageError } from './errors.ts';

/** Believes the authorities in a PEM file too, for the rest of this process. @throws UsageError where that cannot be. */
export async function trustAuthorities(file: string): Promise<void> {
  if (typeof tls.setDefaultCACertificates !== 'function') {
    throw new UsageError(`Node ${process.version} is too old for --ca. Set NODE_EXTRA_CA_CERTS=${file} instead.`);
  }
  try {
    const own = await readFile(file, 'utf8');
    if (!own.includes('-----BEGIN CERTIFICATE-----')) throw new Error('it contains no certificate in PEM format');
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), own]);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`Cannot use the certificate authorities in ${file}: ${reason}`);
  }
}
