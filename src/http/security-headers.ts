/** What tells browsers to be careful. The same texts for every answer: made once, not with each. */

const EVERYWHERE = {
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
};

/** Answers of the API are data: a browser that is led to show one as a page runs and loads nothing. */
const FOR_DATA = {
  ...EVERYWHERE,
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
};

/** Pages. Scalar's brings its own script and inlines its settings; nothing is loaded from another host. */
const FOR_PAGES = {
  ...EVERYWHERE,
  'content-security-policy': [
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self'",
    "object-src 'none'",
    "script-src-attr 'none'",
  ].join(';'),
  'cross-origin-opener-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'x-dns-prefetch-control': 'off',
  'x-frame-options': 'SAMEORIGIN',
};

/** The headers for an answer to this URL. */
export function securityHeaders(url: string): Readonly<Record<string, string>> {
  return url.startsWith('/v1/') ? FOR_DATA : FOR_PAGES;
}
