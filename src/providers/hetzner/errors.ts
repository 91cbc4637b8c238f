import { verdictOf } from '../cloud-errors.ts';
import { type CloudAnswer, withoutSecrets } from '../cloud-http.ts';
import { ProviderError, type ProviderErrorCode } from '../contract.ts';
import { fields, text } from '../wire.ts';

interface Verdict {
  code: ProviderErrorCode;
  retryable: boolean;
  remedy?: string;
}

const REMEDIES = {
  token: 'Check the API token of the project: it may be wrong or revoked.',
  readOnly: 'The API token may only read: make one with the permission "Read & Write".',
  limit: 'Delete what is not needed, or ask Hetzner to raise the limit of this account.',
  room: 'Hetzner has no room for this plan at the moment: choose another zone or plan.',
};

const BY_CODE = new Map<string, Verdict>([
  ['unauthorized', { code: 'AUTHENTICATION_FAILED', retryable: false, remedy: REMEDIES.token }],
  ['token_readonly', { code: 'FORBIDDEN', retryable: false, remedy: REMEDIES.readOnly }],
  ['forbidden', { code: 'FORBIDDEN', retryable: false, remedy: REMEDIES.readOnly }],
  ['resource_limit_exceeded', { code: 'QUOTA_EXCEEDED', retryable: false, remedy: REMEDIES.limit }],
  ['server_limit_exceeded', { code: 'QUOTA_EXCEEDED', retryable: false, remedy: REMEDIES.limit }],
  ['resource_unavailable', { code: 'CAPACITY_EXHAUSTED', retryable: false, remedy: REMEDIES.room }],
  ['placement_error', { code: 'CAPACITY_EXHAUSTED', retryable: false, remedy: REMEDIES.room }],
  ['no_space_left_in_location', { code: 'CAPACITY_EXHAUSTED', retryable: false, remedy: REMEDIES.room }],
  ['uniqueness_error', { code: 'CONFLICT', retryable: false }],
  ['conflict', { code: 'CONFLICT', retryable: true }],
  ['locked', { code: 'CONFLICT', retryable: true }],
  ['server_not_stopped', { code: 'CONFLICT', retryable: true }],
  ['protected', { code: 'FORBIDDEN', retryable: false, remedy: 'Take its protection off in the Hetzner console.' }],
  ['not_found', { code: 'NOT_FOUND', retryable: false }],
  ['maintenance', { code: 'UNAVAILABLE', retryable: true }],
  ['unavailable', { code: 'UNAVAILABLE', retryable: true }],
  ['timeout', { code: 'TIMEOUT', retryable: true }],
  ['bad_gateway', { code: 'UNAVAILABLE', retryable: true }],
  ['invalid_input', { code: 'INVALID_REQUEST', retryable: false }],
]);

/** An answer that is no success, in the contract's words. */
export function refusalError(what: string, answer: CloudAnswer, secrets: readonly string[]): ProviderError {
  const { code: own, message, details } = fields(fields(answer.body).error);
  const code = text(own) ?? null;
  const verdict: Verdict = BY_CODE.get(code ?? '') ?? verdictOf(answer.status);
  const wrong = Array.isArray(fields(details).fields) ? fieldsOf(details) : '';
  const said = withoutSecrets(`${text(message) ?? `HTTP status ${answer.status}`}${wrong}`, secrets);
  const remedy = verdict.remedy === undefined ? '' : ` ${verdict.remedy}`;
  return new ProviderError(
    verdict.code,
    `Hetzner did not ${what}: ${said.replace(/[.\s]*$/, '')}${code ? ` (${code})` : ''}.${remedy}`,
    {
      retryable: verdict.retryable,
      details: { call: what, status: answer.status, provider_code: code, provider_message: said },
    },
  );
}

/** `invalid_input` names the fields in its details. */
function fieldsOf(details: unknown): string {
  const list = fields(details).fields;
  const named = (Array.isArray(list) ? list : []).map(fields).map(({ name, messages }) => {
    return `${text(name) ?? ''} ${Array.isArray(messages) ? messages.map((each) => text(each) ?? '').join(', ') : ''}`;
  });
  return ` [${named.join('; ')}]`;
}
