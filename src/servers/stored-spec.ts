import type { Encryption } from '../access/encryption.ts';
import type { ServerSpec } from '../providers/contract.ts';

/** What a server is made from, as it rests with an operation: encrypted what is or may hold a secret. */
export interface StoredSpec extends Omit<ServerSpec, 'user_data' | 'ssh_host_key'> {
  sealed_user_data?: string;
  /** The public part. */
  host_key?: string;
  sealed_host_key?: string;
}

/** Sealed for its workspace: what is made anew from an earlier operation's spec can open it. */
const userDataIn = ({ workspace }: Pick<ServerSpec, 'workspace'>) => `user data in ${workspace}`;
const hostKeyIn = ({ workspace }: Pick<ServerSpec, 'workspace'>) => `host key in ${workspace}`;

export function encryptSpec(
  encryption: Encryption,
  { user_data: userData, ssh_host_key: hostKey, ...spec }: ServerSpec,
): StoredSpec {
  return {
    ...spec,
    ...(userData ? { sealed_user_data: encryption.encrypt(userData, userDataIn(spec)) } : {}),
    ...(hostKey ? sealedHostKey(encryption, spec, hostKey) : {}),
  };
}

/** A host key as it rests with an operation. */
export function sealedHostKey(
  encryption: Encryption,
  spec: Pick<ServerSpec, 'workspace'>,
  key: NonNullable<ServerSpec['ssh_host_key']>,
): Pick<StoredSpec, 'host_key' | 'sealed_host_key'> {
  return { host_key: key.public_key, sealed_host_key: encryption.encrypt(key.private_key, hostKeyIn(spec)) };
}

/** @throws where this replica has another master key than the one that closed it. */
export function decryptSpec(
  encryption: Encryption,
  { sealed_user_data: userData, host_key: publicKey, sealed_host_key: hostKey, ...spec }: StoredSpec,
): ServerSpec {
  return {
    ...spec,
    ...(userData === undefined ? {} : { user_data: encryption.decrypt(userData, userDataIn(spec)) }),
    ...(publicKey === undefined || hostKey === undefined
      ? {}
      : { ssh_host_key: { public_key: publicKey, private_key: encryption.decrypt(hostKey, hostKeyIn(spec)) } }),
  };
}
