/** What stands on a host, and whether it is well: in one round trip, since most installs find that nothing is to be done. */
import { randomUUID } from 'node:crypto';
import type { Line, Transport } from '../transports/contract.ts';
import { asShell } from '../transports/program.ts';
import { exportsOf, quote, resultOf } from '../transports/shell.ts';
import type { Item } from './host-plan.ts';
import {
  atStep,
  createQuote,
  environment,
  type HostFacts,
  MARKS,
  maskOf,
  type Outcome,
  outcomeOf,
} from './host-scripts.ts';

/** Seconds for a look at a host, beside what the checks may take. */
const LOOK_SECONDS = 30;

/** Taskservs that a host tells of at most. */
const MAX_MARKS = 1_000;

/** What stands on a host by its own account. */
export interface Look {
  /** `debian-12`; null where the host does not say. */
  platform: string | null;
  /** By name. */
  installed: Map<string, { digest: string; version: string }>;
  /** What check.sh said of that which is installed as it is wanted. A simulated host says it only when asked by itself. */
  health: Map<string, Outcome>;
}

const LOOK = `
if [ -r /etc/os-release ]; then (. /etc/os-release; echo "platform $ID-$VERSION_ID"); fi
for file in ${MARKS}/*; do
  if [ -f "$file" ]; then echo "installed \${file##*/} $(cat "$file")"; fi
done
`;

/**
 * Reads what is installed, and runs the check.sh of those wanted items that are installed just so. Writes nothing.
 * @param wanted in the order of checking.
 */
export async function lookAt(
  transport: Transport,
  wanted: readonly Item[],
  host: HostFacts,
  signal: AbortSignal,
): Promise<Look> {
  const look: Look = { platform: null, installed: new Map(), health: new Map() };
  const tag = randomUUID();
  const reader = createReader(look, tag, wanted);
  const script = `tag=${tag}\n${LOOK}${wanted.map((item) => checkScript(item, host)).join('')}`;
  const checks = wanted.reduce((sum, { definition }) => sum + definition.timeouts.check, 0);
  await atStep(reader.step, () =>
    transport.run(script, {
      signal,
      timeoutSeconds: LOOK_SECONDS + checks,
      label: 'look around',
      onLine: reader.onLine,
    }),
  );
  return look;
}

/**
 * In a shell of its own: neither a mistake in it nor its environment reaches what follows. $tag begins the lines around
 * its output, so that nothing it prints can be taken for one.
 */
function checkScript(item: Item, host: HostFacts): string {
  const { name, scripts } = item.definition;
  const program = `${exportsOf(environment(item, host))}${asShell(scripts.check)}`;
  return `
case $(cat ${MARKS}/${name} 2>/dev/null) in ${item.digest}\\ *)
  echo "$tag checking ${name}"
  (eval ${quote(program)}) </dev/null 2>&1
  printf '\\n%s checked ${name} %s\\n' "$tag" $?
esac
`;
}

function createReader(look: Look, tag: string, wanted: readonly Item[]) {
  let current: { name: string; mask: (text: string) => string; said: ReturnType<typeof createQuote> } | null = null;
  let checking = false;

  const looked = (text: string) => {
    const [word, first = '', digest, version] = text.split(' ');
    if (word === 'platform') look.platform = first;
    else if (word === 'installed' && digest !== undefined && version !== undefined && look.installed.size < MAX_MARKS) {
      look.installed.set(first, { digest, version });
    }
  };
  const around = (text: string) => {
    const [, word, name = '', status] = text.split(' ');
    const item = wanted.find(({ definition }) => definition.name === name);
    if (word === 'checking' && item !== undefined) current = { name, mask: maskOf(item), said: createQuote() };
    else if (word === 'checked' && current !== null) {
      look.health.set(name, outcomeOf(resultOf(Number(status), null), current.said));
      current = null;
    }
    checking = true;
  };
  return {
    /** What is being done at this moment, for a message. */
    step: () => (current === null ? 'look around' : `check.sh of ${current.name}`),
    onLine({ text }: Line) {
      if (text.startsWith(`${tag} `)) around(text);
      else if (checking) current?.said.add(current.mask(text));
      else looked(text);
    },
  };
}
