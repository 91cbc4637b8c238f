import type { ProviderErrorCode } from './contract.ts';

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
