import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { pagePolicyFor, securityHeaders } from './security-headers.ts';

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

test('no text becomes a script on a page but the ones that it holds itself', () => {
  for (const url of ['/', '/servers?status=running', '/docs', '/docs/'])
    assert.match(securityHeaders(url)['content-security-policy'] ?? '', /;script-src 'self';/);
  const page = pagePolicyFor('<script src="a.js"></script><script type="text/javascript">\nrun()\n</script>');
  const digest = createHash('sha256').update('\nrun()\n').digest('base64');
  assert.ok(page.includes(`;script-src 'self' 'sha256-${digest}';`), page);
});
