/**
 * One user data has one effect, on whichever cloud: Debian's cloud-init itself takes what each provider sends, as the
 * server would at its first boot (test/support/cloud-init-judge.py). The right values are what cloud-init makes of the
 * same thing alone (its user_data.py and handlers/), but for what it would garble or drop.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Provider } from '../../src/providers/contract.ts';
import { createBody, givesHostKey, specProblems } from '../../src/providers/upcloud/request.ts';
import { CLOUDS, type Cloud, startCloud } from '../clouds/all.ts';
import { findProgram, needs } from '../support/needs.ts';

/** What cloud-init made of a user data: see the judge. */
interface Verdict {
  config: Record<string, unknown>;
  scripts: string[];
  /** The name of the script that runs first. */
  first: string | null;
  done: string;
  authorized_keys: string[];
  warnings: string[];
}

const JUDGE = path.join(import.meta.dirname, '../support/cloud-init-judge.py');
const KEY = `ssh-ed25519 ${Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, 7)]).toString('base64')} provisioning`;
const OTHER = KEY.replace('provisioning', 'other').replace('BwcH', 'CAgI');
const HOST_KEY = { private_key: '-----BEGIN-----\nprivate\n-----END-----\n', public_key: 'ssh-ed25519 AAAAhost x' };
const LIMIT = { calls: 60_000, perSeconds: 60 };
const base64 = (bytes: string | Buffer) => Buffer.from(bytes).toString('base64');
const gzipped = (text: string) => base64(gzipSync(text));

const SCRIPT = '#!/bin/sh\necho "für 東京"\n';
const CONFIG = '#cloud-config\n# für\npackages: [jq]\nruncmd: [[echo, 東京]]\n';
const MIME = [
  'Content-Type: multipart/mixed; boundary="===own=="',
  'MIME-Version: 1.0',
  '',
  '--===own==',
  'Content-Type: text/x-shellscript; charset="utf-8"',
  'Content-Transfer-Encoding: base64',
  '',
  base64(SCRIPT),
  '--===own==',
  'Content-Type: text/cloud-config',
  '',
  '#cloud-config',
  'packages: [jq]',
  '--===own==--',
  '',
].join('\n');
const LONG = `${SCRIPT}${'# a comment that is about as long as most of them are, für alle\n'.repeat(400)}`;

const isScript = ({ scripts }: Verdict) => assert.deepEqual(scripts, [SCRIPT]);
const isConfig = ({ config }: Verdict) =>
  assert.deepEqual([config.packages, config.runcmd], [['jq'], [['echo', '東京']]]);
const isBoth = ({ config, scripts }: Verdict) => assert.deepEqual([config.packages, scripts], [['jq'], [SCRIPT]]);
const does = (what: string) => (verdict: Verdict) => assert.equal(verdict.done, what);

/** User data of each kind that cloud-init knows, and what must come of it everywhere. */
const CASES: Record<string, [userData: string, check: (verdict: Verdict) => void]> = {
  'a cloud-config': [CONFIG, isConfig],
  'a cloud-config after a byte order mark': [`\ufeff${CONFIG}`, isConfig],
  'a cloud-config in capitals': [CONFIG.replace('#cloud-config', '#Cloud-Config'), isConfig],
  'a script': [SCRIPT, isScript],
  'a script without an end of its last line': [
    SCRIPT.trimEnd(),
    ({ scripts }) => assert.deepEqual(scripts, [SCRIPT.trimEnd()]),
  ],
  'a script after a byte order mark': [`\ufeff${SCRIPT}`, isScript],
  'a script after empty lines': [`\n \n${SCRIPT}`, isScript],
  'a script with ends of lines as on Windows': [SCRIPT.replaceAll('\n', '\r\n'), isScript],
  'a script in plain ASCII': ['#!/bin/sh\ntrue\n', ({ scripts }) => assert.deepEqual(scripts, ['#!/bin/sh\ntrue\n'])],
  'a script that speaks of MIME': [
    `${SCRIPT}# MIME-Version: 1.0\n`,
    ({ scripts }) => assert.deepEqual(scripts, [`${SCRIPT}# MIME-Version: 1.0\n`]),
  ],
  'a script with a line that is very long': [
    `${SCRIPT}#${'x'.repeat(3_000)}\n`,
    ({ scripts }) => assert.equal(scripts[0]?.length, SCRIPT.length + 3_002),
  ],
  'a script that is longer than a cloud takes, unless compressed': [
    LONG,
    ({ scripts }) => assert.deepEqual(scripts, [LONG]),
  ],
  'a script in base64': [base64(SCRIPT), isScript],
  'a cloud-config in base64, in lines': [base64(CONFIG).replace(/.{20}/g, '$&\n'), isConfig],
  'a script in gzip and base64': [gzipped(SCRIPT), isScript],
  'a cloud-config in gzip and base64': [gzipped(CONFIG), isConfig],
  'MIME with several parts': [MIME, isBoth],
  'MIME with ends of lines as on Windows': [MIME.replaceAll('\n', '\r\n'), isBoth],
  'MIME with the line of a mailbox': [`From nobody Sun Nov 29 12:00:00 2026\n${MIME}`, isBoth],
  'MIME in gzip and base64': [gzipped(MIME), isBoth],
  'one part with headers': [
    `MIME-Version: 1.0\nContent-Type: text/cloud-config\n\n${'#cloud-config\npackages: [jq]\n'}`,
    ({ config }) => assert.deepEqual(config.packages, ['jq']),
  ],
  'an archive': [
    `#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    packages: [jq]\n- ${JSON.stringify({ type: 'text/x-shellscript', content: SCRIPT })}\n`,
    isBoth,
  ],
  'a template that makes a cloud-config': [
    '## template: jinja\n#cloud-config\nlocale: {{ v1.region }}-für\n',
    ({ config }) => assert.equal(config.locale, 'here-für'),
  ],
  'a template that makes a script': [
    '## template: jinja\n#!/bin/sh\necho {{ v1.region }}\n',
    ({ scripts }) => assert.deepEqual(scripts, ['#!/bin/sh\necho here\n']),
  ],
  'a boothook': ['#cloud-boothook\n#!/bin/sh\nprintf 東京 > "$JUDGE_ROOT/done"\n', does('東京')],
  'a part handler': [
    `#part-handler\nimport os\ndef list_types():\n  return ['text/x-own']\ndef handle_part(data, ctype, filename, payload):\n  open(os.environ['JUDGE_ROOT'] + '/done', 'a').write(ctype)\n`,
    does('__begin____end__'),
  ],
  'a JSON patch': [
    `#cloud-config-jsonp\n[{ "op": "add", "path": "/locale", "value": "für" }]\n`,
    ({ config }) => assert.equal(config.locale, 'für'),
  ],
  'what stands at another place': ['#include\nfile://INCLUDED\n', isScript],
  'users of its own': [
    '#cloud-config\nusers: [{ name: ann }]\n',
    ({ config }) => assert.deepEqual(config.users, [{ name: 'ann' }]),
  ],
  'a root that is disabled, and keys of its own': [
    `#cloud-config\ndisable_root: true\nssh_authorized_keys: [${JSON.stringify(OTHER)}]\n`,
    ({ config, authorized_keys: keys }) => {
      assert.equal(config.disable_root, true);
      assert.ok(
        keys.some((line) => line.includes('command="echo') && line.endsWith(OTHER)),
        'the user disabled it for their own key',
      );
    },
  ],
  // cc_ssh makes root's line of this key one that refuses.
  'the key of the workspace itself': [
    `#cloud-config\nssh_authorized_keys: [${JSON.stringify(KEY)}]\n`,
    ({ config }) => assert.deepEqual(config.ssh_authorized_keys, [KEY]),
  ],
  'files of its own, with nothing in them': [
    '#cloud-config\nwrite_files:\npackages: [jq]\n',
    ({ config }) => assert.deepEqual(config.packages, ['jq']),
  ],
  'files of its own': [
    '#cloud-config\nwrite_files: [{ path: /etc/motd, content: für }]\n',
    ({ config }) => assert.deepEqual((config.write_files as unknown[])[0], { path: '/etc/motd', content: 'für' }),
  ],
  'another host name, and its own way to merge': [
    '#cloud-config\nhostname: other\npackages: [jq]\nmerge_how: "dict(no_replace)+list(replace)"\n',
    ({ config }) => assert.deepEqual(config.packages, ['jq']),
  ],
};

/** What cannot be used, and the words for it. */
const REFUSED: Record<string, [userData: string, words: RegExp]> = {
  'a script without its first line': ['echo hi\n', /begins with none of #!, .* Write "#!\/bin\/sh" as the first line/],
  'a cloud-config without its first line': ['packages: [jq]\n', /Write "#cloud-config" as the first line/],
  'an address': ['https://example.com/setup.sh', /Write "#include" in a line before/],
  'another system': ['<powershell>ls</powershell>', /cloud-init would ignore it/],
  'a NUL character': ['#!/bin/sh\n\0', /NUL/],
  'characters that were lost': ['#!/bin/sh\necho \ufffd', /lost on the way/],
  'MIME with characters beyond ASCII': [MIME.replace('[jq]', '[für]'), /encode its parts in base64/],
  'gzip that is broken': [base64(gzipSync(SCRIPT).subarray(0, 20)), /neither text in UTF-8 nor gzip/],
  'gzip of very much': [gzipped(`#!/bin/sh\n${'#'.repeat(2_000_000)}`), /more than 1048576 bytes/],
  'more than the cloud takes': [
    `#!/bin/sh\n# ${randomBytes(60_000).toString('base64')}`,
    /takes at most (16384|32768|65535) bytes of user data\. (This|With what is added to it \(host name, keys\), compressed, this) is \d+\./,
  ],
};

const python = () =>
  readFileSync(findProgram('cloud-init') ?? '', 'utf8')
    .split('\n')[0]
    ?.slice(2)
    .trim() ?? '';

/** @param cases what was sent, in base64, by a name. */
async function judge(cloud: string, cases: Record<string, string>): Promise<Record<string, Verdict>> {
  const child = spawn(python(), [JUDGE], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify({ cloud, cases }));
  return JSON.parse(await textOf(child.stdout)) as Record<string, Verdict>;
}

test('a template of UpCloud without cloud-init gets what UpCloud itself runs, and no host key', () => {
  // `template_type` of a storage: upcloud-go-api/upcloud/storage.go, StorageTemplateTypeNative and …CloudInit.
  const template = { uuid: 't', title: 'T', neutral: 'debian-12', size: 10, zone: null };
  const plan = { name: 'p', native_name: 'p', cpus: 1, memory_mb: 1_024, storage_gb: 10, tier: null };
  const spec = { workspace: 'w', hostname: 'h', plan: 'p', zone: 'z', tags: [], user_data: SCRIPT };
  for (const native of [true, false]) {
    const catalog = { plans: [plan], zones: [], templates: [{ ...template, native }] };
    const sent = (user_data: string | null, ssh_host_key: typeof HOST_KEY | null = null) =>
      (createBody({ ...spec, user_data, ssh_host_key }, randomUUID(), 'i', catalog).server as { user_data?: string })
        .user_data;
    assert.equal(sent(SCRIPT) === SCRIPT, native);
    assert.equal(sent(gzipped(SCRIPT)) === SCRIPT, native, 'as text, however it was given');
    assert.equal(sent(null, HOST_KEY) === undefined, native);
    assert.equal(givesHostKey(spec, catalog), !native);
    // "URL for a server setup script, or the script body itself" (UpCloud's Terraform provider, docs/resources/server.md).
    for (const user_data of ['https://example.com/setup.sh', 'Write-Host hi']) {
      const words = specProblems({ ...spec, user_data }, catalog).map(({ field }) => field);
      assert.equal(words.includes('user_data'), !native);
      if (native) assert.equal(sent(user_data), user_data);
    }
    // As it is sent: with nothing added.
    for (const [length, fits] of [
      [65_500, true],
      [65_536, false],
    ] as const) {
      const user_data = `#!/bin/sh\n${'é'.repeat((length - 10) / 2)}`;
      const words = specProblems({ ...spec, user_data }, catalog).map(({ field }) => field);
      assert.equal(words.includes('user_data'), !fits, `${length}`);
      if (fits) assert.equal(sent(user_data), user_data);
    }
  }
});

for (const name of CLOUDS) {
  describe(`user data at ${name}`, () => {
    let cloud: Cloud;
    let provider: Provider;
    let folder: string;
    before(async () => {
      cloud = await startCloud(name);
      provider = cloud.provider(LIMIT);
      folder = await mkdtemp(path.join(tmpdir(), 'user-data-'));
      await writeFile(path.join(folder, 'included'), SCRIPT);
    });
    after(async () => {
      await provider.close?.();
      await cloud.fake[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    });
    const sent = async (userData: string | null, hostKey: typeof HOST_KEY | null = null) => {
      const operationId = randomUUID();
      const spec = cloud.spec({ user_data: userData, ssh_public_key: KEY, ssh_host_key: hostKey });
      await provider.ensureServer(spec, { operationId, guard: () => {} });
      if (name !== 'aws') return base64(cloud.made(operationId)?.userData ?? '');
      // The stand-in keeps text; what is compressed is none.
      const line = cloud.fake.calls.findLast((call) => call.line.includes('Action=RunInstances'))?.line ?? '';
      return new URLSearchParams(line).get('UserData') ?? '';
    };

    test('each kind has its effect, and ours comes to it', { skip: needs('cloud-init') }, async () => {
      const all: Record<string, string> = {};
      for (const [kind, [userData]] of Object.entries(CASES)) {
        all[kind] = await sent(userData.replace('INCLUDED', path.join(folder, 'included')));
      }
      const verdicts = await judge(name, all);
      for (const [kind, [, check]] of Object.entries(CASES)) {
        const verdict = verdicts[kind];
        assert.ok(verdict !== undefined, kind);
        try {
          assert.deepEqual(verdict.warnings, []);
          check(verdict);
          assert.equal(verdict.config.hostname, 'web-1');
          // The other clouds let root in themselves.
          const mine = verdict.authorized_keys.filter((line) => line.includes(KEY.split(' ')[1] ?? ''));
          if (name === 'aws') assert.deepEqual([mine, verdict.first], [[KEY], '00-provisioning-root-key']);
          else assert.ok(!mine.includes(KEY));
        } catch (error) {
          throw new Error(`${kind}: ${JSON.stringify(verdict)}`, { cause: error });
        }
      }
    });

    test('a host key comes last as well', { skip: needs('cloud-init') }, async () => {
      const { config = {} } =
        (await judge(name, { it: await sent('#cloud-config\nssh_deletekeys: false\n', HOST_KEY) })).it ?? {};
      const { private_key: ed25519_private, public_key: ed25519_public } = HOST_KEY;
      assert.deepEqual([config.ssh_deletekeys, config.ssh_keys], [true, { ed25519_private, ed25519_public }]);
    });

    test('what cannot be used is refused in words beforehand', async () => {
      for (const [kind, [userData, words]] of Object.entries(REFUSED)) {
        const problems = await provider.validate(cloud.spec({ user_data: userData }));
        assert.deepEqual(
          problems.map(({ field }) => field),
          ['user_data'],
          kind,
        );
        assert.match(problems[0]?.message ?? '', words, kind);
      }
    });
  });
}
