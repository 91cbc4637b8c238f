/** What comes before and after an install on a host that is, or becomes, a member of a service across servers. */
import { OperationError } from '../../engine/procedure.ts';
import { asMember, type Item } from '../host-plan.ts';
import type { Member } from './members.ts';
import { admit, coordinate, type PeerWork } from './peer-scripts.ts';

/** The item as it is to be installed, and what gives the host its work back afterwards. */
export interface Prepared {
  item: Item;
  after(): Promise<void>;
}

const nothing = async () => {};

/**
 * Has a newcomer let in, or a member that gets another version relieved of its work.
 * @param installed what the host itself says that it carries; absent: it is no member, or not any more.
 * @param begun its install was begun before by this operation, and goes on or has ended: it has been let in.
 * @throws LEADER_MISSING, ADDRESS_UNKNOWN, and what the scripts fail with.
 */
export async function prepareMember(
  work: Pick<PeerWork, 'tools' | 'call'>,
  wanted: Item,
  installed: { version: string } | undefined,
  leaving: readonly string[],
  begun: boolean,
): Promise<Prepared> {
  const { cluster, scripts, name } = wanted.definition;
  if (wanted.membership === null || cluster === null) return { item: wanted, after: nothing };
  const { self, members, contact } = wanted.membership;
  const unreachable = members.find(({ address }) => address === null);
  if (members.length > 1 && unreachable !== undefined) {
    throw new OperationError(
      'ADDRESS_UNKNOWN',
      `the address of ${unreachable.hostname} is not known, by which the others of ${name} would reach it.`,
    );
  }
  const peerWork = (item: Item, to: Member): PeerWork => ({
    ...work,
    item,
    contact: to,
    peer: self,
    leaves: false,
  });
  if (installed === undefined) {
    const item = await asMember(work.tools.db, wanted, self.server_id, { lost: true, leaving });
    if (begun) {
      const handedOut = contact !== null && scripts.admit !== undefined;
      return { item: handedOut ? { ...item, facts: null } : item, after: nothing };
    }
    if (contact === null) {
      const leader = item.membership?.leader;
      if (leader?.server_id === self.server_id) return { item, after: nothing };
      throw new OperationError(
        'LEADER_MISSING',
        `${name} does not run on ${leader?.hostname ?? 'any server'} yet, which has to let this server in.`,
      );
    }
    if (scripts.admit === undefined) return { item, after: nothing };
    return { item: { ...item, facts: await admit(peerWork(item, contact)) }, after: nothing };
  }
  if (contact === null) return { item: wanted, after: nothing };
  const to = peerWork(wanted, contact);
  if (scripts.drain !== undefined && installed.version !== wanted.version) await coordinate(to, 'drain');
  return { item: wanted, after: scripts.resume === undefined ? nothing : () => coordinate(to, 'resume') };
}
