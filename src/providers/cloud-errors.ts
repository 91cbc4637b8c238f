import type { ProviderErrorCode } from './contract.ts';

/**
 * What to do where a cloud takes what was asked for no more: it was there when the request was checked.
 * @param provider its name in the API.
 */
export function choiceRemedies(provider: string) {
  const listed = (what: string) => `GET /v1/providers/${provider}/${what} lists what there is.`;
  return {
    zone: `Choose another zone: ${listed('zones')}`,
    plan: `Choose another plan, or another zone for it: ${listed('plans')}`,
    image: 'Choose another image, by its neutral name (debian-12) or an id that this account can see in this zone.',
    network: 'Choose a network that this account has in this zone.',
    name: 'The name is taken: choose another one, or delete what has it.',
  };
}

/** What an answer's status says where the provider's own code says nothing more. */
export function verdictOf(status: number): { code: ProviderErrorCode; retryable: boolean } {
  switch (status) {
    case 401:
      return { code: 'AUTHENTICATION_FAILED', retryable: false };
    case 402:
      return { code: 'QUOTA_EXCEEDED', retryable: false };
    case 403:
      return { code: 'FORBIDDEN', retryable: false };
    case 404:
      return { code: 'NOT_FOUND', retryable: false };
    case 408:
    case 504:
      return { code: 'TIMEOUT', retryable: true };
    case 409:
    case 423:
      return { code: 'CONFLICT', retryable: true };
    case 429:
      return { code: 'RATE_LIMITED', retryable: true };
    case 502:
    case 503:
      return { code: 'UNAVAILABLE', retryable: true };
  }
  return status >= 500 ? { code: 'FAILED', retryable: true } : { code: 'INVALID_REQUEST', retryable: false };
}
