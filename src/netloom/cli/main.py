"""Entry point: finds the verb, turns errors into one clear line and an exit code.

Exit codes (see ``netloom.errors``): 0 done, 1 failed, 2 wrong command line or file, 3 exists already, 4 not found,
5 not supported on this system, 6 not reachable (try again), 7 storage, 8 checked and found untrue, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from netloom import __version__
from netloom.cli.verbs import VERBS
from netloom.errors import NetloomError, UsageError

_EPILOG = """exit codes:
  0 done   1 failed   2 wrong command line or file   3 exists already   4 not found   5 not supported here
  6 not reachable, try again   7 storage   8 checked and found untrue   130 interrupted

start with:  netloom up -f examples/shop    or    netloom demo
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors as ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see: {self.prog} --help")


def parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the whole command; only the verb that the words name is loaded."""
    root = _Parser(
        prog="netloom",
        description="Kubernetes networking, whole: runs it, explains it, proves it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"netloom {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    wanted = next((w for w in words if not w.startswith("-")), None)
    for verb in VERBS:
        child = verbs.add_parser(
            verb.word,
            help=verb.help,
            description=verb.help,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if verb.word == wanted:
            module = importlib.import_module(verb.module)
            module.arguments(child)
            child.set_defaults(run=module.run)
    return root


def main(words: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    try:
        root = parser(words)
        options = root.parse_args(words)
        if options.verb is None:
            root.print_help()
            return 0
        code: int = options.run(options)
    except NetloomError as error:
        print(f"netloom: {error.problem}", file=sys.stderr)
        if error.hint:
            print(f"         {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("netloom: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader has gone (`netloom status | head`): not an error, and nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def run() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main(sys.argv[1:]))


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt
