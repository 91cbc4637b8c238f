import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type Line, MAX_LINE_BYTES, type RunOptions, type Transport } from '../../src/transports/contract.ts';
import { runJob } from '../../src/transports/job.ts';
import { until } from '../support/server.ts';

/** What the suite needs of a transport that really runs scripts. */
export interface TransportSetup {
  /** To the same host each time. */
  open(): Promise<Transport>;
  /** Cuts every connection there is, as a network would. Later ones can be made. */
  cutConnections(): Promise<void>;
  dispose(): Promise<void>;
}

const TIMEOUT = 30;

/**
 * Registers the conformance tests of one transport: docs/contracts/transport.md, run. Each test is named by the rules
 * it proves.
 */
export function transportSuite(name: string, setUp: () => Promise<TransportSetup>): void {
  // One after another, also beside others: what is timed counts on it.
  describe(`the transport contract: ${name}`, { concurrency: 1 }, () => {
    let setup: TransportSetup;
    let transport: Transport;
    before(async () => {
      setup = await setUp();
      transport = await setup.open();
    });
    after(async () => {
      await transport?.close();
      await transport?.close();
      await setup?.dispose();
    });

    const run = async (script: string, options: Partial<RunOptions> = {}, on = transport) => {
      const lines: Line[] = [];
      const result = await on.run(script, { timeoutSeconds: TIMEOUT, onLine: (line) => lines.push(line), ...options });
      const texts = (stream: Line['stream']) => lines.filter((line) => line.stream === stream).map(({ text }) => text);
      return { ...result, lines, stdout: texts('stdout'), stderr: texts('stderr') };
    };
    const newPath = () => `/tmp/transport-suite-${randomUUID()}`;
    const exists = async (path: string) => (await run(`[ -e '${path}' ]`)).exitCode === 0;

    describe('running scripts', () => {
      test('T1: the exit code is the script’s own', async () => {
        for (const code of [0, 1, 7, 127]) {
          assert.deepEqual(await transport.run(`exit ${code}`, { timeoutSeconds: TIMEOUT }), {
            exitCode: code,
            signal: null,
          });
        }
      });

      test('T2: a script ended by a signal says which, whether it was the script or its last command', async () => {
        for (const script of ['kill -TERM $$; sleep 5', "sh -c 'kill -TERM $$'"]) {
          assert.deepEqual(await transport.run(script, { timeoutSeconds: TIMEOUT }), {
            exitCode: null,
            signal: 'SIGTERM',
          });
        }
        const { signal } = await run('kill -KILL $$; sleep 5');
        assert.equal(signal, 'SIGKILL');
      });

      test('T3: both streams come line by line, apart from each other, each in its order', async () => {
        const { stdout, stderr } = await run('for i in 1 2 3; do echo "out $i"; echo "err $i" >&2; done; printf last');
        assert.deepEqual(stdout, ['out 1', 'out 2', 'out 3', 'last']);
        assert.deepEqual(stderr, ['err 1', 'err 2', 'err 3']);
      });

      test('T3: a line arrives while the script still runs', async () => {
        const path = newPath();
        const first = Promise.withResolvers<string>();
        const running = run(`echo first; while [ ! -e '${path}' ]; do sleep 0.05; done; rm '${path}'`, {
          onLine: ({ text }) => first.resolve(text),
        });
        assert.equal(await first.promise, 'first');
        await run(`: >'${path}'`);
        assert.equal((await running).exitCode, 0);
      });

      test('T3: empty lines, CR LF, letters cut by the network, bytes that are no UTF-8, a line without end', async () => {
        const { stdout } = await run(
          `printf 'a\\r\\n\\n'; printf '\\303'; sleep 0.1; printf '\\244\\n'; printf '\\377\\n'; head -c ${3 * MAX_LINE_BYTES} /dev/zero | tr '\\0' x`,
        );
        assert.deepEqual(stdout.slice(0, 4), ['a', '', 'ä', '\uFFFD']);
        assert.equal(stdout.slice(4).join('').length, 3 * MAX_LINE_BYTES);
        assert.ok(stdout.every((text) => text.length <= MAX_LINE_BYTES));
      });

      test('T3: control characters are made visible, sequences of terminals go, progress is told as it stands', async () => {
        const { stdout } = await run(`printf 'nul\\000bell\\007\\n\\033[1mbold\\033[0m\\n1 %%\\r2 %%\\n\\ttab\\n'`);
        assert.deepEqual(stdout, ['nul␀bell␇', 'bold', '2 %', '\ttab']);
      });

      test('T3: a hundred thousand lines arrive whole', async () => {
        const { stdout, exitCode } = await run('seq 100000');
        assert.equal(exitCode, 0);
        assert.equal(stdout.length, 100_000);
        assert.equal(stdout.at(-1), '100000');
      });

      test('T4: standard input is the given bytes and ends; without any it is empty', async () => {
        const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 256));
        const { stdout } = await run('cksum; cat', { stdin: bytes });
        assert.match(stdout[0] ?? '', / 300000$/);
        assert.deepEqual((await run('cat; echo over')).stdout, ['over']);
        assert.deepEqual((await run('read -r a; read -r b; echo "$b $a"', { stdin: 'one\ntwo\n' })).stdout, [
          'two one',
        ]);
      });

      test('T5: the environment arrives as it is, and a name that no shell knows is refused', async () => {
        const env = { PLAIN: 'x', QUOTES: `a'b"c $HOME \`id\` \\ ü`, LINES: 'one\ntwo', EMPTY: '' };
        const { stdout } = await run('printf "%s|" "$PLAIN" "$QUOTES" "$LINES" "$EMPTY"', { env });
        assert.equal(`${stdout.join('\n')}`, `x|${env.QUOTES}|one\ntwo||`);
        await assert.rejects(run('true', { env: { 'NO-NAME': 'secret' } }), (error: Error) => {
          assert.match(error.message, /NO-NAME/);
          assert.doesNotMatch(error.message, /secret/);
          return true;
        });
      });

      test('T6: neither script nor environment nor input stand in any argument vector', async () => {
        const canary = `canary-${randomUUID()}`;
        const { stdout } = await run(
          `: ${canary}; [ "$SECRET" = "$(head -n 1)" ] || exit 9; tr '\\0' ' ' </proc/$$/cmdline; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0\\n' '  '`,
          { env: { SECRET: canary }, stdin: `${canary}\n` },
        );
        assert.ok(stdout.join('').includes('provisioning-run'), 'the argument vectors were read');
        assert.ok(!stdout.join('').includes(canary));
      });

      test('T7: scripts run as root, in /, with sbin in the path', async () => {
        const { stdout } = await run('id -u; pwd; command -v useradd');
        assert.deepEqual(stdout, ['0', '/', '/usr/sbin/useradd']);
      });

      test('T8: a script of half a megabyte runs whole', async () => {
        const script = `${'# a comment that makes the script long\n'.repeat(14_000)}echo arrived; exit 3`;
        const { stdout, exitCode } = await run(script);
        assert.deepEqual([stdout, exitCode], [['arrived'], 3]);
      });

      test('T9: what a script leaves running in the background does not keep the call', async () => {
        const { stdout, exitCode } = await run('sleep 300 & echo $!');
        assert.equal(exitCode, 0);
        await run(`kill ${stdout[0]}`);
      });

      test('T10: twenty scripts at once', async () => {
        const results = await Promise.all(Array.from({ length: 20 }, (_, index) => run(`sleep 0.1; echo ${index}`)));
        assert.deepEqual(
          results.map(({ stdout }) => stdout),
          Array.from({ length: 20 }, (_, index) => [String(index)]),
        );
      });
    });

    describe('ending scripts', () => {
      // Children of every sort: in the background, in a session of their own, with an empty environment.
      const family = (marker: string) => `
        sleep ${marker} &
        setsid sleep ${marker} &
        env -i sleep ${marker} &
        sh -c 'trap "" TERM; sleep ${marker}' marker-${marker} &
        (sleep ${marker} & sleep ${marker}) &
        echo begun; wait`;
      const left = async (marker: string) => {
        const { stdout } = await run(`grep -lszE '^(marker-)?${marker}$' /proc/[0-9]*/cmdline || :`);
        return stdout;
      };
      let markers = 0;
      const newMarker = () => {
        markers += 1;
        return `9${process.pid}${markers}`;
      };

      test('T11: the signal ends the whole tree of processes before the call rejects, with the reason itself', async () => {
        const marker = newMarker();
        const controller = new AbortController();
        const reason = new Error('enough');
        const begun = Promise.withResolvers<void>();
        const running = run(family(marker), { signal: controller.signal, onLine: () => begun.resolve() });
        const verdict = assert.rejects(running, (error) => error === reason);
        await begun.promise;
        await until(async () => (await left(marker)).length >= 6, 'the whole family');
        controller.abort(reason);
        await verdict;
        assert.deepEqual(await left(marker), []);
      });

      test('T11: a signal that has fired already runs nothing', async () => {
        const path = newPath();
        await assert.rejects(run(`: >'${path}'`, { signal: AbortSignal.abort(new Error('before')) }), /before/);
        assert.equal(await exists(path), false);
      });

      test('T12: past its time a script is ended with its tree, and the error says so', async () => {
        const marker = newMarker();
        const script = `sleep ${marker} & sleep ${marker}`;
        await assert.rejects(run(script, { timeoutSeconds: 1, label: 'the family' }), (error: Error) => {
          assert.deepEqual([error.name, 'code' in error && error.code], ['TransportError', 'TIMEOUT']);
          assert.match(error.message, /the family did not end within 1 s/);
          assert.ok(error.message.startsWith(transport.host));
          return true;
        });
        assert.deepEqual(await left(marker), []);
      });

      test('T13: other scripts on the same host are not touched', async () => {
        const controller = new AbortController();
        const other = run('sleep 2; echo untouched');
        const ended = run('echo begun; sleep 60', {
          signal: controller.signal,
          onLine: () => controller.abort(new Error('enough')),
        });
        await assert.rejects(ended, /enough/);
        assert.deepEqual((await other).stdout, ['untouched']);
      });
    });

    describe('uploads', () => {
      test('T14: content and mode are as given, for text and for bytes, whatever was there before', async () => {
        const path = `${newPath()}/with/directories/it's a file`;
        for (const [content, mode] of [
          ['first\n', 0o644],
          [Buffer.from([0, 255, 10, 13, 0]), 0o600],
          [Buffer.alloc(3_000_000, 'x'), 0o755],
        ] as const) {
          await transport.upload(content, path, { mode });
          const { stdout } = await run(
            `stat -c '%a %s %u:%g' "$path"; sha256sum <"$path"; ls "$(dirname "$path")" | wc -l`,
            {
              env: { path },
            },
          );
          assert.deepEqual(stdout, [
            `${mode.toString(8)} ${Buffer.from(content).length} 0:0`,
            `${createHash('sha256').update(content).digest('hex')}  -`,
            '1',
          ]);
        }
      });

      test('T15: a file that cannot be written leaves what was there, and says why', async () => {
        await assert.rejects(transport.upload('x', '/proc/no/such/place', { mode: 0o644 }), (error: Error) => {
          assert.deepEqual([error.name, 'code' in error && error.code], ['TransportError', 'FAILED']);
          assert.match(error.message, /\/proc\/no\/such\/place/);
          return true;
        });
        // A disk that is full.
        const { stdout } = await run(
          'd=$(mktemp -d) && mount -t tmpfs -o size=64k tmpfs "$d" && echo kept >"$d/f" && echo "$d"',
        );
        if (stdout[0] === undefined) return;
        await assert.rejects(transport.upload(Buffer.alloc(1e6), `${stdout[0]}/f`, { mode: 0o644 }), /No space left/);
        const { stdout: kept } = await run(`cat ${stdout[0]}/f; ls ${stdout[0]}; umount ${stdout[0]}`);
        assert.deepEqual(kept, ['kept', 'f']);
      });
    });

    describe('lost connections', () => {
      test('T16: a connection lost while a script runs is no result of the script', async () => {
        const begun = Promise.withResolvers<void>();
        const running = run('echo begun; sleep 60', { onLine: () => begun.resolve() });
        const verdict = assert.rejects(running, { name: 'TransportError', code: 'CONNECTION_LOST', retryable: true });
        await begun.promise;
        await setup.cutConnections();
        await verdict;
      });

      test('T17: the next call makes a new connection', async () => {
        await setup.cutConnections();
        assert.deepEqual((await run('echo again')).stdout, ['again']);
      });
    });

    describe('jobs', () => {
      const follow = (job: Partial<Parameters<typeof runJob>[1]> & { script: string }, on = transport) => {
        const lines: string[] = [];
        const numbers: number[] = [];
        const result = runJob(on, {
          id: `suite-${randomUUID()}`,
          env: {},
          timeoutSeconds: TIMEOUT,
          onLine: ({ stream, text }, number) => {
            lines.push(`${stream} ${text}`);
            numbers.push(number);
          },
          ...job,
        });
        return { result, lines, numbers };
      };

      test('T18: a job’s code, streams, environment and end are those of a script', async () => {
        const { result, lines, numbers } = follow({
          script: 'echo "$A"; echo problem >&2; umask; cat; pwd; printf open; exit 5',
          env: { A: "it's" },
        });
        assert.deepEqual(await result, { exitCode: 5, signal: null });
        assert.deepEqual(
          lines.filter((line) => line.startsWith('stdout')),
          ["stdout it's", 'stdout 0022', 'stdout /', 'stdout open'],
        );
        assert.ok(lines.includes('stderr problem'));
        assert.deepEqual(numbers, [1, 2, 3, 4, 5]);
        assert.deepEqual(await follow({ script: 'kill -KILL $$' }).result, { exitCode: null, signal: 'SIGKILL' });
      });

      test('T19: the same id runs once, however often and from however many sides it is asked for', async () => {
        const path = newPath();
        const id = `suite-${randomUUID()}`;
        const script = `echo x >>'${path}'; sleep 0.5; echo done`;
        const other = await setup.open();
        const results = await Promise.all(
          Array.from({ length: 6 }, (_, index) => follow({ id, script }, index % 2 === 0 ? transport : other).result),
        );
        await other.close();
        assert.ok(results.every(({ exitCode }) => exitCode === 0));
        const again = follow({ id, script });
        assert.equal((await again.result).exitCode, 0);
        assert.deepEqual(again.lines, ['stdout done']);
        assert.deepEqual((await run(`cat '${path}'`)).stdout, ['x']);
      });

      test('T20: a lost connection is made again, no line is lost or told twice, nothing runs twice', async () => {
        const path = newPath();
        const begun = Promise.withResolvers<void>();
        const numbers: number[] = [];
        const { result } = follow({
          script: `echo x >>'${path}'; for i in $(seq 40); do echo $i; sleep 0.05; done`,
          onLine: ({ text }, number) => {
            numbers.push(number);
            assert.equal(text, String(number));
            if (number === 5) begun.resolve();
          },
        });
        await begun.promise;
        await setup.cutConnections();
        assert.equal((await result).exitCode, 0);
        assert.deepEqual(
          numbers,
          Array.from({ length: 40 }, (_, index) => index + 1),
        );
        assert.deepEqual((await run(`cat '${path}'`)).stdout, ['x']);
      });

      test('T21: fromLine leaves out what was told before', async () => {
        const id = `suite-${randomUUID()}`;
        await follow({ id, script: 'seq 5' }).result;
        const { result, lines, numbers } = follow({ id, script: 'seq 5', fromLine: 4 });
        assert.equal((await result).exitCode, 0);
        assert.deepEqual(
          [lines, numbers],
          [
            ['stdout 4', 'stdout 5'],
            [4, 5],
          ],
        );
      });

      test('T22: the signal ends the job’s whole tree; handing over leaves it running for the next', async () => {
        const id = `suite-${randomUUID()}`;
        const script = 'echo begun; sleep 1; echo finished';
        const handOver = new AbortController();
        const first = follow({
          id,
          script,
          signal: handOver.signal,
          onLine: () => handOver.abort(Object.assign(new Error('moving'), { code: 'HANDED_OVER' })),
        });
        await assert.rejects(first.result, /moving/);
        const next = follow({ id, script, fromLine: 2 });
        assert.equal((await next.result).exitCode, 0);
        assert.deepEqual(next.lines, ['stdout finished']);

        const cancel = new AbortController();
        const path = newPath();
        const cancelled = follow({
          id: `${id}-2`,
          script: `setsid sh -c 'echo $$ >${path}; exec sleep 600' & while ! [ -s ${path} ]; do sleep 0.05; done; echo begun; sleep 60`,
          signal: cancel.signal,
          onLine: () => cancel.abort(new Error('enough')),
        });
        await assert.rejects(cancelled.result, /enough/);
        const ended = follow({ id: `${id}-2`, script });
        assert.deepEqual(await ended.result, { exitCode: null, signal: 'SIGTERM' });
        // What has ended may still be listed until its parent has noticed.
        const left = await run(
          `pid=$(cat '${path}'); for n in $(seq 30); do
             grep -qs '^State:.[^Z]' "/proc/$pid/status" || exit 0
             sleep 0.1
           done
           exit 1`,
        );
        assert.equal(left.exitCode, 0, 'a process in a session of its own goes on');
      });

      test('T23: a job’s time is counted from its first start', async () => {
        const id = `suite-${randomUUID()}`;
        const script = 'echo begun; sleep 60';
        const handOver = new AbortController();
        const reason = Object.assign(new Error('moving'), { code: 'HANDED_OVER' });
        await assert.rejects(
          follow({ id, script, signal: handOver.signal, onLine: () => handOver.abort(reason) }).result,
          /moving/,
        );
        await run('sleep 2');
        const begun = performance.now();
        await assert.rejects(follow({ id, script, timeoutSeconds: 2 }).result, { code: 'TIMEOUT' });
        assert.ok(performance.now() - begun < 10_000);
      });

      test('T24: a job whose host forgot it is reported, not waited for', async () => {
        const id = `suite-${randomUUID()}`;
        const { result } = follow({
          id,
          script: 'echo begun; sleep 60',
          onLine: () => {
            // What a restart of the host does to it.
            void run(`
              for pid in $(cut -d ' ' -f 2 /var/lib/provisioning/jobs/${id}/claim); do kill -KILL "$pid"; done
              for file in $(grep -lzsx 'PROVISIONING_RUN=job-${id}' /proc/[0-9]*/environ); do kill -KILL "$(basename "$(dirname "$file")")"; done
            `);
          },
        });
        await assert.rejects(result, { name: 'TransportError', code: 'FAILED', message: /was cut off/ });
      });

      test('T25: a job leaves neither script nor environment on the host, its directory is root’s alone', async () => {
        const id = `suite-${randomUUID()}`;
        await follow({ id, script: 'echo "$SECRET"', env: { SECRET: 'canary' } }).result;
        await until(async () => !(await exists(`/var/lib/provisioning/jobs/${id}/script`)), 'the job to be tidied up');
        const { stdout } = await run(`cd /var/lib/provisioning/jobs/${id}; stat -c %a . ..; ls`);
        assert.deepEqual(stdout, ['700', '700', 'claim', 'exit', 'log', 'started']);
      });
    });
  });
}
