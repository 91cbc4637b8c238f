import ssh2 from 'ssh2';

/** A key pair. The private part is never logged, and never leaves but sealed. */
interface SshKeyPair {
  /** `ssh-ed25519 AAAA… comment`. */
  publicKey: string;
  /** OpenSSH or PEM, without a passphrase. */
  privateKey: string;
}

/** A new ed25519 key pair. */
export function generateSshKey(comment: string): SshKeyPair {
  const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment });
  return { publicKey: pair.public.trim(), privateKey: pair.private };
}
