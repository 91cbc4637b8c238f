import { choiceRemedies, verdictOf } from '../cloud-errors.ts';
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
  support: 'Hetzner itself has locked it (abuse, unpaid bills, …): ask its support. Nothing here can unlock it.',
  subnet: 'The network has no subnet in this zone, or no free address: make one, or choose another network.',
};

const CHOOSE = choiceRemedies('hetzner');
/** What to do about a field that `invalid_input` names. */
const BY_FIELD = new Map([
  ['location', CHOOSE.zone],
  ['datacenter', CHOOSE.zone],
  ['server_type', CHOOSE.plan],
  ['image', CHOOSE.image],
  ['networks', CHOOSE.network],
]);

const BY_CODE = new Map<string, Verdict>([
  ['unauthorized', { code: 'AUTHENTICATION_FAILED', retryable: false, remedy: REMEDIES.token }],
  ['token_readonly', { code: 'FORBIDDEN', retryable: false, remedy: REMEDIES.readOnly }],
  ['forbidden', { code: 'FORBIDDEN', retryable: false, remedy: REMEDIES.readOnly }],
  ['resource_limit_exceeded', { code: 'QUOTA_EXCEEDED', retryable: false, remedy: REMEDIES.limit }],
  ['server_limit_exceeded', { code: 'QUOTA_EXCEEDED', retryable: false, remedy: REMEDIES.limit }],
  ['resource_unavailable', { code: 'CAPACITY_EXHAUSTED', retryable: false, remedy: REMEDIES.room }],
  ['placement_error', { code: 'CAPACITY_EXHAUSTED', retryable: false, remedy: REMEDIES.room }],
  ['no_space_left_in_location', { code: 'CAPACITY_EXHAUSTED', retryable: false, remedy: REMEDIES.room }],
  ['uniqueness_error', { code: 'CONFLICT', retryable: false, remedy: CHOOSE.name }],
  ['unsupported_error', { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.plan }],
  ['invalid_server_type', { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.plan }],
  ['no_subnet_available', { code: 'INVALID_REQUEST', retryable: false, remedy: REMEDIES.subnet }],
  ['ip_not_available', { code: 'INVALID_REQUEST', retryable: false, remedy: REMEDIES.subnet }],
  ['networks_overlap', { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.network }],
  ['resource_locked', { code: 'FORBIDDEN', retryable: false, remedy: REMEDIES.support }],
  ['robot_unavailable', { code: 'UNAVAILABLE', retryable: true }],
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
  const wrong = fieldsOf(details);
  const shown = wrong.map(({ name, reasons }) => `${name} ${reasons}`).join('; ');
  const said = withoutSecrets(
    `${text(message) ?? `HTTP status ${answer.status}`}${shown === '' ? '' : ` [${shown}]`}`,
    secrets,
  );
  const named = verdict.remedy ?? wrong.flatMap(({ name }) => BY_FIELD.get(name) ?? [])[0];
  const remedy = named === undefined ? '' : ` ${named}`;
  return new ProviderError(
    verdict.code,
    `Hetzner did not ${what}: ${said.replace(/[.\s]*$/, '')}${code ? ` (${code})` : ''}.${remedy}`,
    {
      retryable: verdict.retryable,
      details: { call: what, status: answer.status, provider_code: code, provider_message: said },
    },
  );
}

/** Why something failed after Hetzner had accepted it. @param error of the action. */
export function actionError(what: string, error: unknown, secrets: readonly string[]): ProviderError {
  const { code: own, message } = fields(error);
  const code = text(own) ?? null;
  const verdict: Verdict = BY_CODE.get(code ?? '') ?? { code: 'FAILED', retryable: true };
  const said = withoutSecrets(text(message) ?? 'it does not say why', secrets);
  const remedy = verdict.remedy === undefined ? '' : ` ${verdict.remedy}`;
  return new ProviderError(
    verdict.code,
    `Hetzner accepted to ${what} and then failed: ${said.replace(/[.\s]*$/, '')}${code ? ` (${code})` : ''}.${remedy}`,
    { retryable: verdict.retryable, details: { call: what, provider_code: code, provider_message: said } },
  );
}

/** `invalid_input` and `uniqueness_error` name the fields in their details. */
function fieldsOf(details: unknown): { name: string; reasons: string }[] {
  const list = fields(details).fields;
  return (Array.isArray(list) ? list : []).map(fields).map(({ name, messages }) => ({
    name: text(name) ?? '',
    reasons: Array.isArray(messages) ? messages.map((each) => text(each) ?? '').join(', ') : '',
  }));
}
