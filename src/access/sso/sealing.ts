/** What of single sign-on rests in the database encrypted. */
import type { Encryption } from '../encryption.ts';
import type { Issuer, IssuerTokens } from './issuers.ts';
import type { ProviderRow } from './provider-store.ts';

const secretContext = (providerId: string) => `client secret of ${providerId}`;
const tokensContext = (sessionId: string) => `issuer's tokens of ${sessionId}`;

export function sealSecret(encryption: Encryption, providerId: string, secret: string): string {
  return encryption.encrypt(secret, secretContext(providerId));
}

/** A provider as the client of its issuer is made of it. */
export function issuerOfRow(encryption: Encryption, row: ProviderRow): Issuer {
  const { id, version, issuer, client_id: clientId, client_secret: sealed, scopes } = row;
  return {
    ...{ id, version, issuer, clientId, scopes },
    clientSecret: sealed === null ? null : encryption.decrypt(sealed, secretContext(id)),
    groupsClaim: row.groups_claim,
    usernameClaim: row.username_claim,
    ...{ requiredAcr: row.required_acr, requiredAmr: row.required_amr },
  };
}

export function sealTokens(encryption: Encryption, sessionId: string, tokens: IssuerTokens): string {
  return encryption.encrypt(JSON.stringify(tokens), tokensContext(sessionId));
}

export function openTokens(encryption: Encryption, sessionId: string, sealed: string): IssuerTokens {
  return JSON.parse(encryption.decrypt(sealed, tokensContext(sessionId))) as IssuerTokens;
}
