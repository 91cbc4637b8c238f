/** What tells browsers to be careful. The same texts for every answer: made once, not with each. */
import { hash } from 'node:crypto';

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

/** Nothing is loaded from another host, and no text becomes a script. Styles are made while the dashboard runs. */
const PAGE_POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'self'",
  "form-action 'self'",
  "frame-ancestors 'self'",
  "object-src 'none'",
  "script-src-attr 'none'",
];

const FOR_PAGES = {
  ...EVERYWHERE,
  'content-security-policy': PAGE_POLICY.join(';'),
  'cross-origin-opener-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'x-dns-prefetch-control': 'off',
  'x-frame-options': 'SAMEORIGIN',
};

/** A script that stands in the page itself, without `src`. */
const INLINE_SCRIPT = /<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g;

/** The headers for an answer to this URL. */
export function securityHeaders(url: string): Readonly<Record<string, string>> {
  return url.startsWith('/v1/') ? FOR_DATA : FOR_PAGES;
}

/** The policy for a page that somebody else's library makes: as for all pages, and the scripts that it holds by their hashes. */
export function pagePolicyFor(html: string): string {
  const hashes = [...html.matchAll(INLINE_SCRIPT)].map(
    ([, script = '']) => `'sha256-${hash('sha256', script, 'base64')}'`,
  );
  return PAGE_POLICY.join(';').replace("script-src 'self'", ["script-src 'self'", ...hashes].join(' '));
}
