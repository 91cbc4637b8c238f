import type { Encryption } from '../access/encryption.ts';
import type { ServerSpec } from '../providers/contract.ts';

/** What a server is made from, as it rests with an operation: the user data encrypted, as it may hold secrets. */
export interface StoredSpec extends Omit<ServerSpec, 'user_data'> {
  sealed_user_data?: string;
}

/** User data is sealed for its workspace: what is made anew from an earlier operation's spec can open it. */
function contextOf({ workspace }: Pick<ServerSpec, 'workspace'>): string {
  return `user data in ${workspace}`;
}

export function encryptSpec(encryption: Encryption, { user_data: userData, ...spec }: ServerSpec): StoredSpec {
  return userData ? { ...spec, sealed_user_data: encryption.encrypt(userData, contextOf(spec)) } : spec;
}

/** @throws where this replica has another master key than the one that closed it. */
export function decryptSpec(encryption: Encryption, { sealed_user_data: sealed, ...spec }: StoredSpec): ServerSpec {
  return sealed === undefined ? spec : { ...spec, user_data: encryption.decrypt(sealed, contextOf(spec)) };
}
