import { createHash } from 'node:crypto';
import type { CloudHttp } from '../cloud-http.ts';
import { type CallOptions, type MutationOptions, ProviderError } from '../contract.ts';
import { fields, numeric, text } from '../wire.ts';
import { readList } from './listing.ts';

/**
 * The id of the public key in the project, put there when it lacks. All servers of a workspace share it, so it stays when
 * a server goes; it costs nothing. Without one Hetzner would make a password and send it by mail.
 */
export async function ensureKey(http: CloudHttp, line: string, options: MutationOptions): Promise<number> {
  const known = await findKey(http, line, options);
  if (known !== null) return known;
  const blob = blobOf(line);
  const name = `provisioning-${createHash('sha256').update(blob).digest('hex').slice(0, 16)}`;
  try {
    const body = { name, public_key: line, labels: { 'managed-by': 'provisioning' } };
    const answer = await http.change('add the SSH key', 'POST', '/v1/ssh_keys', body, options);
    const id = numeric(fields(fields(answer).ssh_key).id);
    if (id !== undefined) return id;
  } catch (error) {
    // Another process was faster.
    if (!(error instanceof ProviderError && error.details.provider_code === 'uniqueness_error')) throw error;
  }
  const made = await findKey(http, line, options);
  if (made !== null) return made;
  throw new ProviderError(
    'CONFLICT',
    `Hetzner has an SSH key named ${name} with another content. Rename or delete it.`,
    {
      retryable: false,
    },
  );
}

async function findKey(http: CloudHttp, line: string, options: CallOptions): Promise<number | null> {
  const fingerprint = createHash('md5').update(blobOf(line)).digest('hex').match(/../g)?.join(':') ?? '';
  const path = `/v1/ssh_keys?fingerprint=${encodeURIComponent(fingerprint)}`;
  const { items } = await readList(http, 'look for the SSH key', path, 'ssh_keys', options);
  return numeric(items.find((key) => text(key.fingerprint) === fingerprint)?.id) ?? null;
}

/** The key's bytes: the middle of `type base64 comment`. */
function blobOf(line: string): Buffer {
  return Buffer.from(line.trim().split(/\s+/)[1] ?? '', 'base64');
}
