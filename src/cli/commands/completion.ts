import type { CommandDefinition } from '../command.ts';
import { UsageError } from '../errors.ts';

/** Asks the program itself for what may come next, so that the scripts never grow old. */
const SCRIPTS: Record<string, string> = {
  bash: `_provisioning() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(provisioning __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _provisioning provisioning
`,
  zsh: `#compdef provisioning
_provisioning() {
  local -a candidates
  candidates=("\${(@f)$(provisioning __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a candidates
}
compdef _provisioning provisioning
`,
  fish: `complete -c provisioning -f -a '(provisioning __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
};

/** Shell completion. `complete.ts` answers what may come next. */
export const completionCommands: readonly CommandDefinition[] = [
  {
    name: 'completion',
    summary: 'print the completion script of a shell',
    examples: [
      'source <(provisioning completion bash)',
      'provisioning completion fish > ~/.config/fish/completions/provisioning.fish',
    ],
    arguments: [{ name: 'shell', description: Object.keys(SCRIPTS).join(', '), values: Object.keys(SCRIPTS) }],
    covers: [],
    plain: 'a script for a shell',
    async run({ terminal }, [shell = '']) {
      const script = SCRIPTS[shell];
      if (script === undefined)
        throw new UsageError(`"${shell}" is not a supported shell. Use ${Object.keys(SCRIPTS).join(', ')}.`);
      terminal.out(script);
    },
  },
];
