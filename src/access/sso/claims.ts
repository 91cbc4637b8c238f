/** What issuers say of somebody, read with bounds: groups, names, and whether a claim is as a rule asks. */
import { isObject } from '../../documents/json.ts';

/** Groups of one user at most; whoever has more is not let in, as those left out might be the ones that count. */
const MAX_GROUPS = 1_000;
/** Characters of a group's name; none that a mapping can name is longer. */
export const MAX_GROUP_NAME = 256;
/** Characters of a claim that a rule looks at. */
const MAX_CLAIM = 2_048;

type Claims = Readonly<Record<string, unknown>>;

/** A claim by its name or, where there is none of that name, by its path (`realm_access.roles`). */
export function claimAt(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  return name
    .split('.')
    .reduce<unknown>((value, key) => (isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined), claims);
}

export class TooManyGroups extends Error {
  override readonly name = 'TooManyGroups';
}

/** The groups in a claim, each once; null where there is no such claim. @throws TooManyGroups */
export function groupsIn(claims: Claims, name: string): string[] | null {
  const value = claimAt(claims, name);
  if (value === undefined || value === null) return null;
  const named = [value].flat().filter((group): group is string => typeof group === 'string' && group !== '');
  const groups = [...new Set(named)].filter((group) => group.length <= MAX_GROUP_NAME && !group.includes('\0'));
  if (groups.length > MAX_GROUPS) throw new TooManyGroups(`the claim "${name}" has more than ${MAX_GROUPS} groups`);
  return groups;
}

/** Characters that `*` does not stand for: they part the levels of names (`repo:acme/site:ref:refs/heads/main`). */
const SEPARATORS = '/:';

/** What a pattern is made of: a character, or one of the wildcards. */
function partsOf(pattern: string): string[] {
  return pattern.match(/\*\*|[\s\S]/gu) ?? [];
}

/** Wildcards in one pattern: each may have a whole claim gone through once more. */
export const MAX_WILDCARDS = 8;

/** How many wildcards a pattern has. */
export function wildcardsIn(pattern: string): number {
  return partsOf(pattern).filter((part) => part.startsWith('*')).length;
}

/** Whether a pattern asks for anything at all. */
export function isSpecific(pattern: string): boolean {
  return partsOf(pattern).some((part) => !part.startsWith('*') && !SEPARATORS.includes(part));
}

/** In the token of everybody whom the issuer knows. */
const COMMON_CLAIMS = ['iss', 'aud', 'exp', 'iat', 'nbf', 'jti', 'typ'];
/** Of people, who write them themselves at some issuers. */
export const SELF_WRITTEN_CLAIMS = [
  'email',
  'user_email',
  'upn',
  'preferred_username',
  'user_login',
  'nickname',
  'name',
];
/** These sign for whoever registers there. */
const OPEN_ISSUERS = [
  'token.actions.githubusercontent.com',
  'gitlab.com',
  'accounts.google.com',
  'app.terraform.io',
  'oidc.circleci.com',
  'agent.buildkite.com',
  'oidc.vercel.com',
];
/** Whose job it is, at such issuers. */
export const OWNER_CLAIMS = [
  'sub',
  'repository',
  'repository_id',
  'repository_owner',
  'repository_owner_id',
  'project_path',
  'project_id',
  'namespace_path',
  'namespace_id',
  'organization_id',
  'terraform_organization_id',
];

/**
 * Whether the claims of a rule say whose jobs it is for: by one at least whose patterns are exact, or begin with a whole owner
 * (`acme/`; in a subject, where the kind stands before, `repo:acme/`).
 */
export function saysWhose(issuer: string, claims: Readonly<Record<string, readonly string[]>>): boolean {
  const isOpen = OPEN_ISSUERS.includes(new URL(issuer).hostname);
  return Object.entries(claims).some(([name, patterns]) => {
    if (COMMON_CLAIMS.includes(name) || SELF_WRITTEN_CLAIMS.includes(name)) return false;
    if (isOpen && !OWNER_CLAIMS.includes(name)) return false;
    const owner = name === 'sub' ? /^([^/:*]+[/:]+){2}/ : /^[^/:*]+[/:]/;
    return patterns.every((pattern) => !pattern.includes('*') || owner.test(pattern));
  });
}

/**
 * Whether a text is what a pattern says: `*` stands for any characters but `/` and `:`, `**` for any at all. The work is the
 * product of both lengths at most, whatever they hold.
 */
export function matches(pattern: string, text: string): boolean {
  const characters = Array.from(text);
  // After each part: at which places of the text what came before can end.
  let reached = new Set([0]);
  for (const part of partsOf(pattern)) {
    const next = new Set<number>();
    if (part.startsWith('*')) {
      let open = false;
      for (let place = 0; place <= characters.length; place += 1) {
        open ||= reached.has(place);
        if (!open) continue;
        next.add(place);
        if (part === '*' && SEPARATORS.includes(characters[place] ?? '')) open = false;
      }
    } else {
      for (const place of reached) if (characters[place] === part) next.add(place + 1);
    }
    if (next.size === 0) return false;
    reached = next;
  }
  return reached.has(characters.length);
}

/** Whether a claim, or one of a list of claims, is as one of the patterns says. */
export function claimMatches(value: unknown, patterns: readonly string[]): boolean {
  return [value].flat().some((one) => {
    if (!['string', 'number', 'boolean'].includes(typeof one)) return false;
    const text = String(one);
    return text.length <= MAX_CLAIM && patterns.some((pattern) => matches(pattern, text));
  });
}
