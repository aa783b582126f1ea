"""``netloom completion SHELL``: a completion script, made from the verbs and their options."""

from __future__ import annotations

import argparse

from netloom.cli import main
from netloom.cli.verbs import VERBS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")
    parser.epilog = "for this shell only:  source <(netloom completion bash)"


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    words = {verb.word: _options(verb.word) for verb in VERBS}
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](words))
    return 0


def _options(word: str) -> tuple[str, ...]:
    root = main.parser([word])
    actions = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no public view
    child = next(actions).choices[word]
    options = sorted(o for a in child._actions for o in a.option_strings)  # noqa: SLF001 - as above
    words = [w for a in child._actions if not a.option_strings for w in a.choices or ()]  # noqa: SLF001 - as above
    return (*words, *options)


def _bash(words: dict[str, tuple[str, ...]]) -> str:
    cases = "\n".join(f'        {w}) words="{" ".join(o)}" ;;' for w, o in words.items())
    return f"""_netloom() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
    if [ "$COMP_CWORD" = 1 ]; then words="{" ".join(words)} --help --version"
    else case "${{COMP_WORDS[1]}}" in
{cases}
    esac; fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    if [ "${{#COMPREPLY[@]}}" = 0 ]; then mapfile -t COMPREPLY < <(compgen -f -- "$current"); fi
}}
complete -F _netloom netloom"""


def _zsh(words: dict[str, tuple[str, ...]]) -> str:
    verbs = " ".join(f"'{v.word}:{v.help}'" for v in VERBS)
    cases = "\n".join(f"    {w}) compadd -- {' '.join(o)}; _files ;;" for w, o in words.items())
    return f"""#compdef netloom
_netloom() {{
  local -a verbs=({verbs})
  if (( CURRENT == 2 )); then _describe verb verbs; return; fi
  case $words[2] in
{cases}
  esac
}}
compdef _netloom netloom"""


def _fish(words: dict[str, tuple[str, ...]]) -> str:
    lines = ["complete -c netloom -f"]
    lines += [f"complete -c netloom -n __fish_use_subcommand -a {v.word} -d '{v.help}'" for v in VERBS]
    for word, options in words.items():
        seen = f"-n '__fish_seen_subcommand_from {word}'"
        lines += [f"complete -c netloom {seen} {_fish_option(o)}" for o in options]
    return "\n".join(lines)


def _fish_option(option: str) -> str:
    if not option.startswith("-"):
        return f"-a {option}"
    return f"-l {option[2:]}" if option.startswith("--") else f"-o {option[1:]}"
