import type { StateReason } from '@aws-sdk/client-ec2';
import { choiceRemedies, verdictOf } from '../cloud-errors.ts';
import { withoutSecrets } from '../cloud-http.ts';
import { ProviderError, type ProviderErrorCode } from '../contract.ts';
import { fields, numeric, text } from '../wire.ts';

interface Verdict {
  code: ProviderErrorCode;
  retryable: boolean;
  remedy?: string;
}

const THROTTLED =
  /^(RequestLimitExceeded|Throttling(Exception)?|RequestThrottled|EC2ThrottledException|TooManyRequests.*)$/;

/** What EC2 says why something is not authorized, for whoever may decode it. */
const ENCODED = /Encoded authorization failure message: ([\w-]+)/;
/** Some 2,000 characters are usual. */
const MAX_ENCODED = 12_288;

const CHOOSE = choiceRemedies('aws');
const SUBSCRIBE = 'Subscribe the account to the image’s product at the page that AWS names, or choose another image.';

const NO_DEFAULT =
  'The account has no default network in this zone: name a subnet under networks (subnet-…), or make a default VPC or subnet.';

/** By EC2's own codes; the first pattern that fits. */
const VERDICTS: [RegExp, Verdict][] = [
  [THROTTLED, { code: 'RATE_LIMITED', retryable: true }],
  [
    /^(AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|RequestExpired|ExpiredToken.*|UnrecognizedClientException|MissingAuthenticationToken|IncompleteSignature|CredentialsProviderError|InvalidAccessKeyId)$/,
    {
      code: 'AUTHENTICATION_FAILED',
      retryable: false,
      remedy:
        'Check the access key of this account (it may be wrong, deleted or expired) and the clock of this machine.',
    },
  ],
  [
    /^(OptInRequired|Blocked|PendingVerification)$/,
    {
      code: 'FORBIDDEN',
      retryable: false,
      remedy: 'AWS lets this account make nothing yet: its console says what is open (payment, verification).',
    },
  ],
  [
    /^OperationNotPermitted$/,
    {
      code: 'CONFLICT',
      retryable: false,
      remedy: 'The instance is protected at AWS: switch its termination or stop protection off there, and try again.',
    },
  ],
  [
    /^(VPCIdNotSpecified|MissingInput|DefaultVpcDoesNotExist)$/,
    { code: 'INVALID_REQUEST', retryable: false, remedy: NO_DEFAULT },
  ],
  [
    /^InsufficientFreeAddressesInSubnet$/,
    {
      code: 'CAPACITY_EXHAUSTED',
      retryable: false,
      remedy: 'The subnet has no address left: name another one under networks, or another zone.',
    },
  ],
  [
    /^(UnauthorizedOperation|AccessDenied.*)$/,
    {
      code: 'FORBIDDEN',
      retryable: false,
      remedy: 'Give the account the rights of the policy in docs/providers/aws.md.',
    },
  ],
  [
    /LimitExceeded$/,
    {
      code: 'QUOTA_EXCEEDED',
      retryable: false,
      remedy: 'Ask for a higher quota in Service Quotas, or terminate what is not needed.',
    },
  ],
  [
    /^Insufficient/,
    {
      code: 'CAPACITY_EXHAUSTED',
      retryable: false,
      remedy: 'The zone has no room for this plan at the moment: choose another zone or plan.',
    },
  ],
  [/^(IncorrectInstanceState|IncorrectState|ConcurrentModification)$/, { code: 'CONFLICT', retryable: true }],
  [/^IdempotentParameterMismatch$/, { code: 'CONFLICT', retryable: true }],
  [/^InvalidInstanceID\.NotFound$/, { code: 'NOT_FOUND', retryable: false }],
  [/^(ServiceUnavailable|Unavailable)$/, { code: 'UNAVAILABLE', retryable: true }],
  [/^(Internal.*)$/, { code: 'FAILED', retryable: true }],
  [/^InvalidAMIID/, { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.image }],
  [/^Invalid(Subnet|Group|SecurityGroup)/, { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.network }],
  [/^(Unsupported|InvalidInstanceType)/, { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.plan }],
  [
    /^InvalidParameterValue$/,
    {
      code: 'INVALID_REQUEST',
      retryable: false,
      remedy:
        'Choose another one where it names a zone, plan, image or network: GET /v1/providers/aws/zones and …/plans list what there is.',
    },
  ],
  [
    /^(Invalid|Missing|Unsupported|Malformed|UnknownParameter|ValidationError)/,
    { code: 'INVALID_REQUEST', retryable: false },
  ],
];

/** Reasons of an end that say more than a refusal under their name. */
const ENDED = new Map<string, Verdict>([
  [
    'Client.InternalError',
    {
      code: 'FORBIDDEN',
      retryable: false,
      remedy:
        'As a rule the account may not use the key (KMS) of an encrypted disk: give it that right, or choose another image.',
    },
  ],
  ['Client.InvalidSnapshot.NotFound', { code: 'INVALID_REQUEST', retryable: false, remedy: CHOOSE.image }],
  [
    'Client.InstanceInitiatedShutdown',
    { code: 'FAILED', retryable: false, remedy: 'Its system shut itself down: look at its user data and image.' },
  ],
]);

/** The HTTP status of the answer; undefined where there was none that could be read. */
export function statusOf(error: unknown): number | undefined {
  return numeric(fields(Reflect.get(Object(error), '$metadata')).httpStatusCode);
}

/** Whether EC2 asked for fewer calls. */
export function isThrottled(error: unknown): boolean {
  return error instanceof Error && (THROTTLED.test(error.name) || statusOf(error) === 429);
}

/** Whatever the SDK threw, in the contract's words. @param late it was given up for its time limit. */
export function toProviderError(
  what: string,
  error: unknown,
  secrets: readonly string[],
  late: boolean,
): ProviderError {
  if (error instanceof ProviderError) return error;
  const status = statusOf(error);
  const name = error instanceof Error ? error.name : 'unknown';
  const words = withoutSecrets(plainWords(error), secrets);
  if (late) {
    return new ProviderError(
      'TIMEOUT',
      `AWS did not answer in time (${what}). If it was a change, it may have happened.`,
      {
        retryable: true,
        details: { call: what },
      },
    );
  }
  const known = verdictFor(name, words);
  // An answer that could not be read has a status of success, or none.
  if (known === undefined && (status === undefined || status < 300)) return unreadable(what, error, words);
  const verdict: Verdict = known ?? verdictOf(status ?? 500);
  return new ProviderError(verdict.code, told(`AWS did not ${what}`, words, name, verdict), {
    retryable: verdict.retryable,
    details: { call: what, status, provider_code: name, provider_message: words, ...encodedPart(error, secrets) },
  });
}

function verdictFor(name: string, words: string): Verdict | undefined {
  // The account itself, or a product that it has not subscribed to.
  if (name === 'OptInRequired' && /marketplace/i.test(words))
    return { code: 'FORBIDDEN', retryable: false, remedy: SUBSCRIBE };
  return VERDICTS.find(([pattern]) => pattern.test(name))?.[1];
}

function told(what: string, words: string, name: string, { remedy }: Verdict): string {
  return `${what}: ${words.replace(/[.\s]*$/, '')} (${name}).${remedy === undefined ? '' : ` ${remedy}`}`;
}

/** EC2's words without the encoded part, which only AWS can read. */
function plainWords(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(ENCODED, '').trim();
}

/** The encoded part, whole: `aws sts decode-authorization-message` takes nothing less. */
function encodedPart(error: unknown, secrets: readonly string[]): { encoded_authorization_message?: string } {
  const encoded = error instanceof Error ? ENCODED.exec(error.message)?.[1] : undefined;
  if (
    encoded === undefined ||
    encoded.length > MAX_ENCODED ||
    secrets.some((secret) => secret !== '' && encoded.includes(secret))
  ) {
    return {};
  }
  return { encoded_authorization_message: encoded };
}

/**
 * Why an instance has ended, by its StateReason; null where that is that somebody terminated it. It will not come back, so
 * none of it can be tried again.
 */
export function endedError(ref: string, { Code: code = '', Message: message = '' }: StateReason): ProviderError | null {
  if (!/^(Client|Server)\./.test(code) || code === 'Client.UserInitiatedShutdown') return null;
  const words = withoutSecrets(message.replace(`${code}: `, ''), []);
  const known = ENDED.get(code) ?? verdictFor(code.replace(/^(Client|Server)\./, ''), words);
  const verdict: Verdict = known ?? { code: 'FAILED', retryable: false };
  return new ProviderError(verdict.code, told(`AWS ended the server ${ref} by itself`, words, code, verdict), {
    retryable: false,
    details: { ref, provider_code: code, provider_message: words },
  });
}

function unreadable(what: string, error: unknown, words: string): ProviderError {
  const code = text(Reflect.get(Object(error), 'code'));
  return new ProviderError('UNAVAILABLE', `The call to AWS failed or its answer was unreadable (${what}: ${words}).`, {
    retryable: true,
    details: { call: what, system_code: code },
  });
}

/**
 * A list of an answer. The SDK makes an answer without fields of any XML, a proxy's error page too: a list that lacks is
 * not an empty one.
 * @throws ProviderError UNAVAILABLE
 */
export function listed<T>(what: string, list: T[] | undefined): T[] {
  if (list !== undefined) return list;
  throw new ProviderError('UNAVAILABLE', `AWS answered no ${what}. Trying again may help.`, { retryable: true });
}
