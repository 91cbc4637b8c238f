import { type Expression, ExpressionError, FUNCTION_NAMES, inQuotes } from './language.ts';

/** What an expression reads of its context. */
export interface References {
  /** Names at the top: `parameters`, `item`, … */
  roots: Set<string>;
  /** Steps whose results are read: `operations.<id>`. */
  operations: Set<string>;
  /** Parameters read by name: `parameters.<name>`. */
  parameters: Set<string>;
  /** Secrets read by name: `secrets.<name>`. */
  secrets: Set<string>;
  /** Secrets of the workspace read by key: `secrets.workspace.<key>`. */
  workspaceSecrets: Set<string>;
}

/** What a part of an expression stands for, as far as references go. */
type Meaning = 'root' | 'operations' | 'parameters' | 'secrets' | 'workspaceSecrets' | 'value';

/** Names that every object inherits: never a field of ours. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype));

/**
 * Finds what an expression reads. Steps must be named (`operations.web`), so that what a node waits for is known.
 * @throws ExpressionError for an unknown function or variable, an inherited name, or a use of all steps at once.
 */
export function referencesOf(expression: Expression): References {
  const found: References = {
    roots: new Set(),
    operations: new Set(),
    parameters: new Set(),
    secrets: new Set(),
    workspaceSecrets: new Set(),
  };

  /** Names that a `let` around the part gives. */
  const variables: string[] = [];

  /** A part whose whole value is used: it must not be the context or the collection of all steps. */
  const use = (node: Expression, current: Meaning): void => {
    const meaning = walk(node, current);
    if (meaning === 'operations') throw new ExpressionError('name the step that is meant: operations.<id>');
    if (meaning === 'secrets') throw new ExpressionError('name the secret that is meant: secrets.<name>');
    if (meaning === 'workspaceSecrets') {
      throw new ExpressionError('name the secret that is meant: secrets.workspace.<key>');
    }
    if (meaning === 'root') {
      throw new ExpressionError(
        'name what is meant: parameters, operations.<id>, item, index, workspace, servers, taskservs, secrets.<name>',
      );
    }
  };

  const field = (name: string, current: Meaning): Meaning => {
    if (INHERITED.has(name)) throw new ExpressionError(`"${name}" is not a field`);
    if (current === 'operations') found.operations.add(name);
    if (current === 'parameters') found.parameters.add(name);
    if (current === 'secrets' && name === 'workspace') return 'workspaceSecrets';
    if (current === 'secrets') found.secrets.add(name);
    if (current === 'workspaceSecrets') found.workspaceSecrets.add(name);
    if (current !== 'root') return 'value';
    found.roots.add(name);
    return name === 'operations' || name === 'parameters' || name === 'secrets' ? name : 'value';
  };

  const walk = (node: Expression, current: Meaning): Meaning => {
    switch (node.type) {
      case 'Field':
        return field(node.name, current);
      case 'Current':
      case 'Identity':
        return current;
      case 'Root':
        return 'root';
      case 'Subexpression':
      case 'Pipe':
        return walk(node.right, walk(node.left, current));
      case 'IndexExpression':
      case 'Projection':
      case 'ValueProjection':
      case 'FilterProjection':
        use(node.left, current);
        if (node.type === 'FilterProjection') use(node.condition, 'value');
        use(node.right, 'value');
        return 'value';
      case 'Function':
        if (!FUNCTION_NAMES.includes(node.name)) {
          throw new ExpressionError(`there is no function ${node.name}(); there are: ${FUNCTION_NAMES.join(', ')}`);
        }
        for (const child of node.children) use(child, current);
        return 'value';
      case 'ExpressionReference':
        use(node.child, 'value');
        return 'value';
      case 'Arithmetic':
        refuseBareHyphen(node);
        for (const part of partsOf(node)) use(part, current);
        return 'value';
      case 'LetExpression':
        for (const { reference } of node.bindings) use(reference, current);
        variables.push(...node.bindings.map(({ variable }) => variable));
        use(node.expression, current);
        variables.length -= node.bindings.length;
        return 'value';
      case 'Variable':
        if (!variables.includes(node.name)) throw new ExpressionError(`there is no variable $${node.name}`);
        return 'value';
      default:
        for (const part of partsOf(node)) use(part, current);
        return 'value';
    }
  };
  use(expression, 'root');
  return found;
}

/** `operations.pull-image` would take something away from the step "pull", which is no number. @throws ExpressionError */
function refuseBareHyphen({ operator, left }: Extract<Expression, { type: 'Arithmetic' }>): void {
  if (operator !== 'Minus' || left.type !== 'Subexpression') return;
  if (left.left.type !== 'Field' || left.left.name !== 'operations' || left.right.type !== 'Field') return;
  throw new ExpressionError(
    `nothing can be taken away from the step "${left.right.name}": ${inQuotes(`${left.right.name}-…`)}`,
  );
}

/** The parts of an expression that are all evaluated on the same value. */
function partsOf(node: Expression): Expression[] {
  const parts: Expression[] = [];
  for (const [name, part] of Object.entries(node)) {
    if (name === 'type') continue;
    for (const child of Array.isArray(part) ? part : [part]) {
      if (typeof child !== 'object' || child === null || !('type' in child)) continue;
      // A pair of a multi-select hash: only its value is an expression.
      parts.push(child.type === 'KeyValuePair' ? child.value : child);
    }
  }
  return parts;
}
