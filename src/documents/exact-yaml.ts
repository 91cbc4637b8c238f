import { type Document, visit } from 'yaml';
import { numberProblem } from './exact-numbers.ts';

/** The numbers of a document that would not be kept as they are written: where each stands in the text, and why. */
export function inexactNumbers(document: Document.Parsed): { offset: number; message: string }[] {
  const found: { offset: number; message: string }[] = [];
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value !== 'number' || node.source === undefined) return;
      const problem = numberProblem(node.source);
      if (problem !== null) found.push({ offset: node.range?.[0] ?? 0, message: `${node.source} ${problem}` });
    },
  });
  return found;
}
