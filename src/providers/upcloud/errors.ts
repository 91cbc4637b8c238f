import { choiceRemedies, verdictOf } from '../cloud-errors.ts';
import { type CloudAnswer, withoutSecrets } from '../cloud-http.ts';
import { ProviderError, type ProviderErrorCode } from '../contract.ts';
import { fields, text } from '../wire.ts';

/** While UpCloud makes as many servers as it makes at once, another try after so many seconds is right. */
const CREATING_LIMIT_RETRY = 10;

interface Refusal {
  /** UpCloud's own code; null where the body has none. */
  code: string | null;
  words: string | null;
}

interface Verdict {
  code: ProviderErrorCode;
  retryable: boolean;
  remedy?: string;
  retryAfter?: number;
}

/**
 * An answer that is no success, in the contract's words. UpCloud has three shapes for errors, and the media type does
 * not tell them apart.
 */
export function refusalError(what: string, answer: CloudAnswer, secrets: readonly string[]): ProviderError {
  const { code, words } = readRefusal(answer.body);
  const verdict = judge(code ?? '', answer.status);
  const said = withoutSecrets(words ?? `HTTP status ${answer.status}`, secrets);
  const remedy = verdict.remedy === undefined ? '' : ` ${verdict.remedy}`;
  return new ProviderError(
    verdict.code,
    `UpCloud did not ${what}: ${said.replace(/[.\s]*$/, '')}${code ? ` (${code})` : ''}.${remedy}`,
    {
      retryable: verdict.retryable,
      retryAfter: verdict.retryAfter,
      details: { call: what, status: answer.status, provider_code: code, provider_message: said },
    },
  );
}

function readRefusal(body: unknown): Refusal {
  const { error, type, title, invalid_params: invalid } = fields(body);
  const { error_code, code, error_message, message } = fields(error);
  const own = text(error_code) ?? text(code) ?? fragmentOf(text(type)) ?? null;
  const reasons = Array.isArray(invalid)
    ? invalid.map(fields).map((each) => `${text(each.name) ?? ''}: ${text(each.reason) ?? ''}`)
    : [];
  const words = text(error_message) ?? text(message) ?? text(title) ?? null;
  return { code: own, words: [words, ...reasons].filter((part) => part !== null).join(' ') || null };
}

/** `https://…/errors#ERROR_RESOURCE_NOT_FOUND` → `RESOURCE_NOT_FOUND`; a type that is no address is the code itself. */
function fragmentOf(type: string | undefined): string | undefined {
  return type
    ?.split('#')
    .at(-1)
    ?.replace(/^ERROR_/, '');
}

const CHOOSE = choiceRemedies('upcloud');
/** What is wrong with a choice, by the beginning of the code. */
const CHOICES: [RegExp, string][] = [
  [/^ZONE_/, CHOOSE.zone],
  [/^PLAN_/, CHOOSE.plan],
  [/^(STORAGE|TEMPLATE)_(NOT_FOUND|INVALID)/, CHOOSE.image],
  [/^NETWORK_/, CHOOSE.network],
];

const LABELS =
  'Tags become labels: each key once, with 2 to 32 characters and none of them "_" at the beginning; values of 255 at most.';
const MISSING = new Set(['SERVER_NOT_FOUND', 'RESOURCE_NOT_FOUND', 'NOT_FOUND']);

function judge(code: string, status: number): Verdict {
  if (/^AUTHENTICATION_|^TOKEN_/.test(code) || status === 401) {
    return {
      code: 'AUTHENTICATION_FAILED',
      retryable: false,
      remedy: 'Check the token (or user name and password) of this account: it may be wrong or expired.',
    };
  }
  if (code === 'SERVER_CREATING_LIMIT_REACHED') {
    return { code: 'RATE_LIMITED', retryable: true, retryAfter: CREATING_LIMIT_RETRY };
  }
  if (code === 'INSUFFICIENT_CREDITS' || status === 402) {
    return { code: 'QUOTA_EXCEEDED', retryable: false, remedy: 'The account has no credits left: top it up.' };
  }
  if (code.endsWith('_LIMIT_REACHED')) {
    return {
      code: 'QUOTA_EXCEEDED',
      retryable: false,
      remedy: 'Delete what is not needed, choose a smaller plan, or ask UpCloud to raise the limit of this account.',
    };
  }
  if (code.endsWith('_RESOURCES_UNAVAILABLE')) {
    return {
      code: 'CAPACITY_EXHAUSTED',
      retryable: false,
      remedy: 'The zone has no room for this plan at the moment: choose another zone or plan.',
    };
  }
  if (code === 'TRIAL_PLAN') {
    return {
      code: 'FORBIDDEN',
      retryable: false,
      remedy: 'The trial of this account does not include it: end the trial.',
    };
  }
  if (code.endsWith('_FORBIDDEN')) {
    return {
      code: 'FORBIDDEN',
      retryable: false,
      remedy: 'Give the account that the credentials belong to access to servers and storages.',
    };
  }
  // What was attached a moment ago is attached no more: the next try looks again.
  if (/_STATE_ILLEGAL$|^DEVICE_ADDRESS_NOT_IN_USE$/.test(code)) return { code: 'CONFLICT', retryable: true };
  if (/_(IN_USE|ATTACHED(_AS_\w+)?)$/.test(code)) {
    return {
      code: 'CONFLICT',
      retryable: false,
      remedy: 'Something else uses it: detach it there, or wait for what is done with it, and try again.',
    };
  }
  if (/_LABEL_/.test(code)) return { code: 'INVALID_REQUEST', retryable: false, remedy: LABELS };
  if (/_EXISTS$|^DUPLICATE_RESOURCE$/.test(code)) return { code: 'CONFLICT', retryable: false, remedy: CHOOSE.name };
  const choice = CHOICES.find(([pattern]) => pattern.test(code));
  if (choice !== undefined) return { code: 'INVALID_REQUEST', retryable: false, remedy: choice[1] };
  if (code.endsWith('_NOT_FOUND') && !MISSING.has(code)) return { code: 'INVALID_REQUEST', retryable: false };
  return verdictOf(status);
}
