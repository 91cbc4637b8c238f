/** Which servers of a provider can be taken over. */
import type { Queryable } from '../../database/pool.ts';
import { shortId, uuidv7 } from '../../database/uuid.ts';
import type { Provider, ProviderServer } from '../../providers/contract.ts';
import { isOfInstallation } from '../../providers/installation.ts';
import { hostnameProblems } from '../../providers/labels.ts';
import { isServerId, LIKE_AN_ID } from '../names.ts';
import { operationsOfOurs, unknownAmong } from '../orphans/store.ts';
import { serverAtRef, serverIdOf } from '../store.ts';

export interface AdoptInput {
  provider: string;
  /** The provider's id of one, or (null) a label of several: `key=value`, or `key`. */
  server: string | null;
  label: string | null;
  /** What the one is to be called; null: as it is called there. */
  hostname: string | null;
  check_mode: boolean;
  /** The workspaces out of which the caller may take servers; null: out of all, and what carries no label of ours. */
  from_workspaces: string[] | null;
}

/** A server that can be taken over. The ids are what it will have: they are kept over a crash. */
export interface Candidate {
  server_id: string;
  /** Value of its operation label from then on. */
  label_id: string;
  hostname: string;
  server: ProviderServer;
  /** Its labels can be set. */
  labels: boolean;
}

/** A server that cannot. */
export interface Refused {
  provider_id: string;
  hostname: string;
  reason: string;
}

export interface Judgement {
  candidates: Candidate[];
  refused: Refused[];
}

export interface JudgeContext {
  provider: Provider;
  workspace: string;
  installation: string;
  /** The account is the workspace's own. */
  ownAccount: boolean;
  listedAt: Date;
}

/** Those among the listed that are asked for. */
export function chosen({ server, label }: AdoptInput, listed: readonly ProviderServer[]): ProviderServer[] {
  if (server !== null) return listed.filter(({ ref }) => ref === server);
  return listed.filter(({ tags }) => tags?.some((tag) => tag === label || tag.startsWith(`${label}=`)));
}

/** Says of each whether it can be taken over, or why not. */
export async function judge(
  db: Queryable,
  input: AdoptInput,
  servers: readonly ProviderServer[],
  context: JudgeContext,
): Promise<Judgement> {
  const judgement: Judgement = { candidates: [], refused: [] };
  for (const server of servers) {
    const hostname = (input.hostname ?? server.hostname).toLowerCase();
    const reason =
      (await ownershipProblem(db, input, server, context)) ?? (await nameProblem(db, hostname, context, judgement));
    if (reason !== null) {
      judgement.refused.push({ provider_id: server.ref, hostname, reason });
      continue;
    }
    const labels = context.provider.labelServer !== undefined;
    const labelId = labels ? uuidv7() : (server.operation_id ?? '');
    judgement.candidates.push({ server_id: shortId('srv'), label_id: labelId, hostname, server, labels });
  }
  return judgement;
}

async function ownershipProblem(
  db: Queryable,
  { from_workspaces: from }: AdoptInput,
  server: ProviderServer,
  { provider, installation, ownAccount, listedAt }: JudgeContext,
): Promise<string | null> {
  const holder = await serverAtRef(db, provider.name, server.ref);
  if (holder !== null) return `It is server ${holder.id} already.`;
  if (server.status === 'deleting') return 'It is being deleted.';
  const ours = isOfInstallation(server, installation, await operationsOfOurs(db, [server.operation_id]));
  if (server.operation_id !== null && ours) {
    const lists = { listedAt, lagMs: provider.listingLagMs ?? 0 };
    const unknown = await unknownAmong(db, provider.name, [server], lists);
    if (!unknown.has(server.ref)) return 'It belongs to an operation that is under way, or has just been deleted.';
    const { workspace } = server;
    if (from === null || (workspace !== null && from.includes(workspace))) return null;
    return `It counts to workspace "${workspace}", of which the caller may not take servers.`;
  }
  if (server.installation !== undefined && server.installation !== null && !ours) {
    return 'It belongs to another installation: take its label provisioning-installation off first.';
  }
  if (provider.labelServer === undefined) {
    return `${provider.name} cannot label it, and without a label it would not be seen any more.`;
  }
  if (from === null || ownAccount) return null;
  return "It carries no label of ours and stands in the installation's account: that takes a role bound to all workspaces.";
}

async function nameProblem(
  db: Queryable,
  hostname: string,
  { workspace }: JudgeContext,
  { candidates }: Judgement,
): Promise<string | null> {
  const [problem] = hostnameProblems({ hostname });
  if (problem !== undefined) return problem.message;
  if (isServerId(hostname)) return `The hostname "${hostname}" ${LIKE_AN_ID}.`;
  const holder = await serverIdOf(db, workspace, hostname);
  if (holder !== null) return `The hostname "${hostname}" is taken in workspace "${workspace}" by server ${holder}.`;
  const twin = candidates.find((candidate) => candidate.hostname === hostname);
  return twin === undefined ? null : `The hostname "${hostname}" is that of ${twin.server.ref} as well.`;
}
