import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { readBounded } from '../documents/bounded-file.ts';
import type { Place } from '../documents/problems.ts';
import { ApplicationError } from '../errors.ts';
import { type Budget, evaluate, isSpent, sharedBudget } from '../evaluation/pool.ts';
import { ROOT } from '../root.ts';
import {
  DEFAULT_TIMEOUTS,
  type DefinitionFile,
  NAME_PATTERN,
  type OptionalScriptName,
  type PeerScriptName,
  type TaskservDefinition,
} from './definition.ts';
import { CATALOG_TASKS, type Found, type ReadDefinition, START } from './tasks.ts';

/** Something wrong with a definition, where its author finds it. */
export interface CatalogProblem extends Place {
  /** Whose definition; the name of its folder. */
  taskserv: string;
  file: string;
  message: string;
}

/** A name in `requires`, and where it stands. */
interface Requirement extends Place {
  requirement: string;
  file: string;
}

/** All definitions of one folder. */
export interface LoadedDefinitions {
  definitions: Map<string, TaskservDefinition>;
  problems: CatalogProblem[];
  /** Folders whose definition cannot be used. */
  broken: Set<string>;
  requirements: Map<string, Requirement[]>;
}

const DEFINITION_FILE = 'taskserv.yaml';
const SCRIPTS = ['install', 'check', 'remove'] as const;
const PEER_SCRIPTS: readonly PeerScriptName[] = ['admit', 'drain', 'resume'];
const OPTIONAL_SCRIPTS: readonly OptionalScriptName[] = [...PEER_SCRIPTS, 'kubeconfig'];
/** Definitions in one folder at most; each costs four reads. */
const MAX_DEFINITIONS = 500;
/** Bytes. The longest built-in taskserv.yaml has some 5,000. */
const MAX_YAML_BYTES = 65_536;
/** Bytes. Scripts are sent to every host. */
const MAX_SCRIPT_BYTES = 262_144;
/** Definitions that are remembered. */
const MAX_KNOWN = 5_000;
/** Folders read at once, so that a catalog does not take all file descriptors. */
const PARALLEL = 16;
const OWN = path.join(ROOT, 'src/catalog');
const LIBRARY = path.join(OWN, 'library.sh');
const INTERPRETERS = ['#!/bin/sh', '#!/bin/bash', '#!/usr/bin/env sh', '#!/usr/bin/env bash'];

/**
 * Reads the definitions in `folder`; none where it does not exist.
 * @param root the directory that nothing may lead out of, links resolved
 */
export async function loadDefinitions(
  folder: string,
  source: TaskservDefinition['source'],
  root: string = folder,
): Promise<LoadedDefinitions> {
  const loaded: LoadedDefinitions = {
    definitions: new Map(),
    problems: [],
    broken: new Set(),
    requirements: new Map(),
  };
  // Those of ours are known to cost little.
  const budget = source === 'built-in' ? null : sharedBudget(`taskservs in ${folder}`);
  const names = await folderNames(folder, loaded.problems);
  const library = await readBounded(LIBRARY, OWN, MAX_SCRIPT_BYTES);
  if ('problem' in library) throw new Error(`${LIBRARY} ${library.problem}`);
  for (let from = 0; from < names.length; from += PARALLEL) {
    const part = names.slice(from, from + PARALLEL);
    const results = await Promise.all(
      part.map((name) => loadOne(path.join(folder, name), name, source, root, library.text, budget)),
    );
    for (const [index, result] of results.entries()) {
      const name = part[index] ?? '';
      loaded.problems.push(...result.problems);
      loaded.requirements.set(name, result.requirements);
      if (result.definition === null) loaded.broken.add(name);
      else loaded.definitions.set(name, result.definition);
    }
  }
  return loaded;
}

/** The folders in it, sorted; files and hidden folders are nobody's definitions. */
async function folderNames(folder: string, problems: CatalogProblem[]): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOENT') {
      problems.push({ taskserv: '', file: folder, line: 1, column: 1, message: `cannot be read (${String(code)})` });
    }
    return [];
  });
  const names = entries
    .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort();
  if (names.length > MAX_DEFINITIONS) {
    const message = `has ${names.length} definitions; only the first ${MAX_DEFINITIONS} are used`;
    problems.push({ taskserv: '', file: folder, line: 1, column: 1, message });
  }
  return names.slice(0, MAX_DEFINITIONS);
}

/** What was read before, by a hash of folder and text: it is not evaluated again. */
const known = new Map<string, ReadDefinition>();

/** @param budget null: it is one of ours, and read here. */
async function readDefinition(text: string, folder: string, budget: Budget | null): Promise<ReadDefinition> {
  if (budget === null) return CATALOG_TASKS['taskserv.read']({ text, folder });
  const key = createHash('sha256').update(`${folder}\0${text}`).digest('base64');
  const before = known.get(key);
  if (before !== undefined) return before;
  const alone = !isSpent(budget);
  const read = await evaluate<(typeof CATALOG_TASKS)['taskserv.read']>(
    'taskserv.read',
    { text, folder },
    budget,
    DEFINITION_FILE,
  ).catch((error: unknown): ReadDefinition => {
    if (!(error instanceof ApplicationError) || error.code !== 'TOO_COSTLY') throw error;
    return { problems: [{ ...START, message: error.message }] };
  });
  // What failed because others had used up the budget may succeed the next time.
  if (alone) {
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(key, read);
  }
  return read;
}

interface LoadedOne {
  definition: TaskservDefinition | null;
  problems: CatalogProblem[];
  requirements: Requirement[];
}

async function loadOne(
  folder: string,
  name: string,
  source: TaskservDefinition['source'],
  root: string,
  library: string,
  budget: Budget | null,
): Promise<LoadedOne> {
  const problems: CatalogProblem[] = [];
  const failed = (file: string, found: Found[]): LoadedOne => {
    problems.push(...found.map((problem) => ({ taskserv: name, file, ...problem })));
    return { definition: null, problems, requirements: [] };
  };
  const file = path.join(folder, DEFINITION_FILE);
  const at = (message: string) => [{ ...START, message }];
  if (!new RegExp(NAME_PATTERN).test(name)) return failed(folder, at(`the folder's name must match ${NAME_PATTERN}`));
  const text = await readBounded(file, root, MAX_YAML_BYTES);
  if ('problem' in text) return failed(file, at(text.problem));
  const read = await readDefinition(text.text, name, budget);
  if ('problems' in read) return failed(file, read.problems);

  const scripts: TaskservDefinition['scripts'] = { install: '', check: '', remove: '' };
  const files = new Set(await readdir(folder));
  for (const script of [...SCRIPTS, ...OPTIONAL_SCRIPTS.filter((name) => files.has(`${name}.sh`))]) {
    const scriptFile = path.join(folder, `${script}.sh`);
    if (read.file.cluster === undefined && PEER_SCRIPTS.some((peer) => peer === script)) {
      failed(scriptFile, at('is for services across servers: taskserv.yaml has no "cluster"'));
    }
    const content = await readBounded(scriptFile, root, MAX_SCRIPT_BYTES);
    const found = 'problem' in content ? at(content.problem) : scriptProblems(content.text);
    if (found.length > 0) failed(scriptFile, found);
    if ('text' in content) scripts[script] = withLibrary(content.text, library);
  }
  if (problems.length > 0) return { definition: null, problems, requirements: [] };
  return {
    definition: complete(read.file, source, scripts),
    problems,
    requirements: requirements(read, file),
  };
}

function complete(
  file: DefinitionFile,
  source: TaskservDefinition['source'],
  scripts: TaskservDefinition['scripts'],
): TaskservDefinition {
  return {
    name: file.name,
    summary: file.summary,
    source,
    versions: { upgrade: 'any', ...file.versions },
    requires: (file.requires ?? []).map((entry) =>
      typeof entry === 'string' ? { name: entry, type: 'hard' as const } : entry,
    ),
    conflicts: file.conflicts ?? [],
    platforms: file.platforms,
    config: file.config ?? {},
    timeouts: { ...DEFAULT_TIMEOUTS, ...file.timeouts },
    ports: file.ports ?? [],
    cluster: clusterOf(file),
    scripts,
  };
}

function clusterOf({ cluster }: DefinitionFile): TaskservDefinition['cluster'] {
  if (cluster === undefined) return null;
  return {
    roles: cluster.roles.map(({ name, count, at_once }) => ({ name, count: count ?? null, at_once: at_once ?? null })),
    leader: cluster.leader ?? 'any',
    shared_address: cluster.shared_address ?? null,
    follows_members: cluster.follows_members ?? false,
    unless: cluster.unless ?? [],
  };
}

function requirements({ file, requirements: places }: Extract<ReadDefinition, { file: unknown }>, name: string) {
  return (file.requires ?? []).map((entry, index) => ({
    requirement: typeof entry === 'string' ? entry : entry.name,
    file: name,
    ...(places[index] ?? START),
  }));
}

function scriptProblems(text: string): Found[] {
  const lines = text.split('\n');
  const windows = lines.findIndex((line) => line.endsWith('\r'));
  if (windows >= 0) {
    const column = (lines[windows] ?? '').length;
    return [{ line: windows + 1, column, message: 'ends with a carriage return, which a shell takes as text' }];
  }
  if (INTERPRETERS.includes(lines[0] ?? '')) return [];
  return [{ line: 1, column: 1, message: `must be one of: ${INTERPRETERS.join(', ')}` }];
}

/**
 * A whole program that any POSIX shell can run, from a file or as text: the library, then the script. One for bash is
 * handed to it on a descriptor of its own, so that neither standard input nor an argument is taken.
 */
function withLibrary(script: string, library: string): string {
  const end = script.indexOf('\n') + 1;
  const program = `${library}${end === 0 ? '' : script.slice(end)}`;
  if (!script.slice(0, end === 0 ? undefined : end).includes('bash')) return `#!/bin/sh\n${program}`;
  // A line that the program cannot hold, as it depends on the whole of it.
  const mark = `END-${createHash('sha256').update(program).digest('hex')}`;
  return `#!/bin/sh\nexec bash /dev/fd/3 3<<'${mark}'\n${program}\n${mark}\n`;
}
