import type { Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A command as a completion knows it. */
export interface CompletedCommand {
  /** Words after `softflow`: `config show`. */
  path: string;
  summary: string;
  options: { flags: string[]; summary: string; choices: string[]; takesValue: boolean }[];
  /** What its first argument is. */
  argument: 'run' | 'recipe' | 'none';
}

/** Every command of the program with its options, subcommands too. */
export function completedCommands(program: Command, prefix = ''): CompletedCommand[] {
  return program.commands.flatMap((command) => {
    const path = `${prefix}${command.name()}`;
    const inner = completedCommands(command, `${path} `);
    const own: CompletedCommand = {
      path,
      summary: command.summary() || command.description(),
      options: command.options.map(completedOption),
      argument: argumentOf(command),
    };
    return [own, ...inner];
  });
}

function completedOption({ short, long, description, argChoices, flags }: Option) {
  return {
    flags: [short, long].filter((flag) => flag !== undefined),
    summary: description,
    choices: [...(argChoices ?? [])],
    takesValue: /[<[]/.test(flags),
  };
}

/** Arguments are named by what they are. */
function argumentOf(command: Command): CompletedCommand['argument'] {
  const name = command.registeredArguments[0]?.name();
  if (name === 'run' || name === 'runs' || name === 'first') return 'run';
  return name === 'recipe' ? 'recipe' : 'none';
}

/** The completion script of a shell; run ids are asked of `softflow completion runs` when Tab is pressed. */
export function completionScript(shell: Shell, commands: readonly CompletedCommand[]): string {
  const make = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell];
  return make(commands);
}

const isGroup = (command: CompletedCommand, all: readonly CompletedCommand[]): boolean =>
  all.some(({ path }) => path.startsWith(`${command.path} `));

/** The words that may follow a command: its subcommands, else its options. */
function wordsAfter(path: string, all: readonly CompletedCommand[]): string[] {
  const depth = path === '' ? 0 : path.split(' ').length;
  const inside = all.filter((each) => path === '' || each.path.startsWith(`${path} `));
  return inside
    .filter((each) => each.path.split(' ').length === depth + 1)
    .map((each) => each.path.split(' ')[depth] as string);
}

function bashScript(commands: readonly CompletedCommand[]): string {
  const cases = commands.map((command) => {
    const words = isGroup(command, commands)
      ? wordsAfter(command.path, commands)
      : [...command.options.flatMap(({ flags }) => flags), '--help'];
    const more = { run: ' $(softflow completion runs 2>/dev/null)', recipe: '', none: '' }[command.argument];
    const files =
      command.argument === 'recipe' ? '\n      [[ $word != -* ]] && COMPREPLY+=($(compgen -f -- "$word"))' : '';
    return `    ${quote(command.path)})\n      COMPREPLY=($(compgen -W "${words.join(' ')}${more}" -- "$word"))${files} ;;`;
  });
  const values = commands.flatMap(({ path, options }) =>
    options
      .filter(({ choices }) => choices.length > 0)
      .map(
        ({ flags, choices }) =>
          `    ${flags.map((flag) => quote(`${path} ${flag}`)).join('|')})\n      COMPREPLY=($(compgen -W "${choices.join(' ')}" -- "$word")); return ;;`,
      ),
  );
  const groups = commands.filter((command) => isGroup(command, commands)).map(({ path }) => path);
  return `# bash completion of softflow: source <(softflow completion bash)
_softflow() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]:-}
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "${[...wordsAfter('', commands), '--help', '--version'].join(' ')}" -- "$word"))
    return
  fi
  case $command in
    ${groups.map(quote).join('|') || "''"})
      (( COMP_CWORD > 2 )) && command="$command \${COMP_WORDS[2]}" ;;
  esac
  case "$command $before" in
${values.join('\n')}
  esac
  case $command in
${cases.join('\n')}
  esac
}
complete -o bashdefault -F _softflow softflow
`;
}

function zshScript(commands: readonly CompletedCommand[]): string {
  const described = (items: readonly [string, string][]) =>
    items.map(([name, summary]) => quote(`${name.replaceAll(':', '\\:')}:${summary.replaceAll(':', '\\:')}`)).join(' ');
  const next = (path: string) =>
    wordsAfter(path, commands).map((word): [string, string] => [
      word,
      commands.find((each) => each.path === `${path} ${word}`.trim())?.summary ?? '',
    ]);
  const cases = commands.map((command) => {
    if (isGroup(command, commands))
      return `    ${quote(command.path)})\n      words_=(${described(next(command.path))}); _describe command words_ ;;`;
    const options = [...command.options, { flags: ['--help'], summary: 'help', choices: [], takesValue: false }];
    const specs = options.flatMap(({ flags, summary }) => flags.map((flag): [string, string] => [flag, summary]));
    const argument = {
      run: `runs_=(\${(f)"$(softflow completion runs 2>/dev/null)"}); compadd -a runs_; `,
      recipe: '_files; ',
      none: '',
    }[command.argument];
    return `    ${quote(command.path)})\n      ${argument}words_=(${described(specs)}); _describe option words_ ;;`;
  });
  const values = commands.flatMap(({ path, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .map(({ flags, choices }) => {
        const offer = choices.length > 0 ? `compadd ${choices.map(quote).join(' ')}` : '_files';
        return `    ${flags.map((flag) => quote(`${path} ${flag}`)).join('|')})\n      ${offer}; return ;;`;
      }),
  );
  const groups = commands.filter((command) => isGroup(command, commands)).map(({ path }) => path);
  return `#compdef softflow
# zsh completion of softflow: source <(softflow completion zsh)
_softflow() {
  local -a words_ runs_
  local command=$words[2]
  if (( CURRENT == 2 )); then
    words_=(${described(next(''))})
    _describe command words_
    return
  fi
  case $command in
    ${groups.map(quote).join('|') || "''"})
      (( CURRENT > 3 )) && command="$command $words[3]" ;;
  esac
  case "$command $words[CURRENT-1]" in
${values.join('\n')}
  esac
  case $command in
${cases.join('\n')}
  esac
}
compdef _softflow softflow
`;
}

function fishScript(commands: readonly CompletedCommand[]): string {
  const lines = commands.flatMap((command) => {
    const words = command.path.split(' ');
    const last = words.at(-1) as string;
    const above = words.slice(0, -1);
    const condition = above.length === 0 ? '__fish_use_subcommand' : seen(above, wordsAfter(above.join(' '), commands));
    const name = `complete -c softflow -n ${quote(condition)} -a ${quote(last)} -d ${quote(command.summary)}`;
    const here = quote(seen(words, []));
    const argument = {
      run: [`complete -c softflow -n ${here} -a '(softflow completion runs 2>/dev/null)'`],
      recipe: [`complete -c softflow -n ${here} -F`],
      none: [],
    }[command.argument];
    const options = command.options.map(({ flags, summary, choices, takesValue }) => {
      const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
      const value = choices.length > 0 ? ` -x -a ${quote(choices.join(' '))}` : takesValue ? ' -r' : '';
      return `complete -c softflow -n ${here} ${names.join(' ')}${value} -d ${quote(summary)}`;
    });
    return [name, ...argument, ...options];
  });
  return `# fish completion of softflow: softflow completion fish | source
complete -c softflow -f
${lines.join('\n')}
`;
}

/** All of these words are there, and none of those. */
function seen(words: readonly string[], none: readonly string[]): string {
  const all = words.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
  return none.length === 0 ? all : `${all}; and not __fish_seen_subcommand_from ${none.join(' ')}`;
}

/** A shell word in single quotes. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
