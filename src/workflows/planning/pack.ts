/** A plan as JSON: what several nested plans share stands in it once. */
import type { Path } from '../../documents/json.ts';
import type { DefinitionData } from '../definition/definition.ts';
import type { Plan, PlannedNode } from './contract.ts';

/** `known` is left out where it is all of `with`. */
type PackedNode = Omit<PlannedNode, 'known'> & { known?: PlannedNode['known'] };

interface PackedInner extends Omit<Plan, 'nodes' | 'places' | 'nested' | 'inner'> {
  nodes: PackedNode[];
  places: [string, Path][];
  /** With the names of the types. */
  inner: { path: Path; type: string; plan: PackedInner }[];
}

export interface PackedPlan extends PackedInner {
  nested: DefinitionData[];
}

export function packPlan(plan: Plan): PackedPlan {
  return {
    ...packInner(plan),
    nested: [...plan.nested.values()].map(({ name, fields, text }) => ({ name, fields, text })),
  };
}

function packInner({ nodes, places, inner, nested: _, ...plan }: Plan): PackedInner {
  return {
    ...plan,
    nodes: nodes.map(({ known, ...node }) => (node.with === null ? { ...node, known } : node)),
    places: [...places],
    inner: inner.map(({ path, definition, plan: own }) => ({
      path,
      type: definition.name ?? '',
      plan: packInner(own),
    })),
  };
}

export function unpackPlan({ nested, ...plan }: PackedPlan): Plan {
  const types = new Map(nested.map((definition) => [definition.name ?? '', definition]));
  const unpack = ({ nodes, places, inner, ...own }: PackedInner): Plan => ({
    ...own,
    nodes: nodes.map((node) => ({ ...node, known: node.known ?? node.with ?? {} })),
    places: new Map(places),
    nested: types,
    inner: inner.map(({ path, type, plan: packed }) => {
      const definition = types.get(type);
      if (definition === undefined) throw new Error(`the plan nests "${type}" and does not bring it`);
      return { path, definition, plan: unpack(packed) };
    }),
  });
  return unpack(plan);
}
