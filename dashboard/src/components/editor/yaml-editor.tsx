import { autocompletion, closeBrackets, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { yaml } from '@codemirror/lang-yaml';
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, lintKeymap, setDiagnostics } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';
import { completeBySchema } from './completion.ts';
import type { Problem } from './problems.ts';
import type { SchemaNode } from './schema-path.ts';

interface YamlEditorProps {
  /** What it begins with, and begins anew with when it is another. */
  initial: string;
  schema: SchemaNode;
  label: string;
  problems: readonly Problem[];
  onChange: (text: string) => void;
}

/** An editor for YAML by a schema. Tab leaves it; Ctrl-Space offers what fits. */
export function YamlEditor({ initial, schema, label, problems, onChange }: YamlEditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  useEffect(() => {
    if (place.current === null) return;
    const made = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: initial,
        extensions: [
          lineNumbers(),
          lintGutter(),
          history(),
          drawSelection(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          highlightActiveLine(),
          yaml(),
          syntaxHighlighting(COLORS),
          autocompletion({ override: [completeBySchema(schema)] }),
          keymap.of([...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
          EditorView.contentAttributes.of({ 'aria-label': label, tabindex: '0' }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed.current(update.state.doc.toString());
          }),
          LOOK,
        ],
      }),
    });
    view.current = made;
    return () => made.destroy();
  }, [initial, schema, label]);
  useEffect(() => {
    const editor = view.current;
    if (editor === null) return;
    const end = editor.state.doc.length;
    const diagnostics = problems.map(({ from, to, message }) => ({
      from: Math.min(from, end),
      to: Math.min(to, end),
      severity: 'error' as const,
      message,
    }));
    editor.dispatch(setDiagnostics(editor.state, diagnostics));
  }, [problems]);
  return <div ref={place} className="editor surface" />;
}

const COLORS = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--app-blue)' },
  { tag: [tags.string, tags.content], color: 'var(--mantine-color-text)' },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: 'var(--app-green)' },
  { tag: [tags.comment, tags.meta], color: 'var(--app-dimmed)' },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: 'var(--app-dimmed)' },
]);

const LOOK = EditorView.theme({
  '&': { height: '100%', fontSize: '13px', color: 'var(--mantine-color-text)' },
  '&.cm-focused': { outline: '2px solid var(--app-blue)' },
  '.cm-scroller': { fontFamily: 'ui-monospace, monospace', overflow: 'auto' },
  '.cm-content': { caretColor: 'var(--mantine-color-text)' },
  '.cm-cursor': { borderLeftColor: 'var(--mantine-color-text)' },
  '.cm-gutters': {
    background: 'var(--app-surface)',
    color: 'var(--app-dimmed)',
    borderRight: '1px solid var(--app-line)',
  },
  '.cm-activeLine': { background: 'color-mix(in srgb, var(--app-hover) 60%, transparent)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    background: 'color-mix(in srgb, var(--app-blue) 25%, transparent)',
  },
  '.cm-tooltip': {
    background: 'var(--app-surface)',
    border: '1px solid var(--app-line)',
    color: 'var(--mantine-color-text)',
  },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { background: 'var(--app-blue)', color: 'var(--app-surface)' },
});
