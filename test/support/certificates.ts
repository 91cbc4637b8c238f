/** Certificates for tests, made by OpenSSL: ask for it first, `needs('openssl')`. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface Certificate {
  /** PEM. */
  cert: string;
  /** PEM, PKCS #8, without a passphrase. */
  key: string;
}

export interface Authority extends Disposable {
  /** PEM file of its own certificate. */
  file: string;
  /** PEM. */
  cert: string;
  /** A certificate for 127.0.0.1 and localhost, good for servers and clients, for a day. */
  issue(name: string, kind?: keyof typeof KEYS): Certificate;
}

const KEYS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
  rsa: ['-newkey', 'rsa:2048'],
};

export function createAuthority(name: string): Authority {
  const directory = mkdtempSync(path.join(tmpdir(), 'provisioning-authority-'));
  const at = (file: string) => path.join(directory, file);
  const request = (kind: keyof typeof KEYS, ...args: string[]) =>
    execFileSync('openssl', ['req', '-x509', ...KEYS[kind], '-nodes', '-days', '1', ...args], { stdio: 'pipe' });
  request('ec', '-subj', `/CN=${name}`, '-keyout', at('ca.key'), '-out', at('ca.pem'));
  return {
    file: at('ca.pem'),
    cert: readFileSync(at('ca.pem'), 'utf8'),
    issue(subject, kind = 'ec') {
      const signed = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-keyout', at('own.key'), '-out', at('own.pem')];
      const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
      request(kind, '-subj', `/CN=${subject}`, '-addext', names, '-addext', 'basicConstraints=CA:FALSE', ...signed);
      return { cert: readFileSync(at('own.pem'), 'utf8'), key: readFileSync(at('own.key'), 'utf8') };
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
