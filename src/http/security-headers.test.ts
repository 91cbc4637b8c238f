import assert from 'node:assert/strict';
import { test } from 'node:test';
import { securityHeaders } from './security-headers.ts';

test('an answer of the API may not run, load or be framed; a page may, from here alone', () => {
  const data = securityHeaders('/v1/servers?per_page=1');
  assert.equal(data['content-security-policy'], "default-src 'none'; frame-ancestors 'none'");
  const page = securityHeaders('/docs');
  assert.match(page['content-security-policy'] ?? '', /^default-src 'self';.*;frame-ancestors 'self';/);
  assert.doesNotMatch(page['content-security-policy'] ?? '', /https?:|\*/);
  for (const headers of [data, page]) {
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['referrer-policy'], 'no-referrer');
  }
});

test('no text becomes a script on the dashboard; only the page of the API has one of its own', () => {
  for (const url of ['/', '/servers?status=running', '/docsomething'])
    assert.match(securityHeaders(url)['content-security-policy'] ?? '', /;script-src 'self';/);
  for (const url of ['/docs', '/docs/', '/docs?x'])
    assert.match(securityHeaders(url)['content-security-policy'] ?? '', /;script-src 'self' 'unsafe-inline';/);
});
