"""``netloom link``: cut, slow down and heal the cables of a local cluster's nodes."""

from __future__ import annotations

import argparse
import re

from netloom.cli.output import add_cluster, add_output
from netloom.errors import UsageError

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)?")
_MOST_MS = 60_000.0
_EPILOG = """cut NODE: its cable is pulled: the node sees that it has no carrier, and nobody reaches it.
cut NODE NODE: nothing passes between these two, whichever way it takes; everybody else reaches both.
delay NODE TIME: each packet from and to the node waits so long, so that a round trip takes twice as much longer. The kernel must have netem.
heal NODE: its cable is whole again, towards all. heal NODE NODE: between these two. heal: everything.
ls: how the links are.

for example:
  netloom link cut node-3
  netloom link cut node-1 node-2
  netloom link delay node-2 50ms --jitter 10ms --loss 1
  netloom link heal

exit codes: 0 done, 4 no such node, 5 this kernel cannot delay packets
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("action", choices=("cut", "delay", "heal", "ls"), help="what to do")
    parser.add_argument("words", metavar="NODE", nargs="*", help="which node or nodes; delay: and how long")
    parser.add_argument("--jitter", default="0", metavar="TIME", help="delay: varies by so much, up and down")
    parser.add_argument(
        "--loss", type=float, default=0.0, metavar="PERCENT", help="delay: so many packets are lost, each way"
    )
    add_cluster(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from netloom.cli import failures  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.local.failures.words import Cut, Delay, Heal, Look, Slow  # noqa: PLC0415 - as above

    words = tuple(options.words)
    match options.action:
        case "ls":
            _count(options, words, 0, 0, "all links are shown: leave the nodes away")
            return failures.report(options, Look())
        case "cut":
            _count(options, words, 1, 2, "name the node whose cable is pulled, or two that are to be parted")
            return failures.report(options, Cut(words))
        case "heal":
            _count(options, words, 0, 2, "name a node, two nodes, or none to heal everything")
            return failures.report(options, Heal(words))
    _count(options, words, 2, 2, "name the node and the time: netloom link delay node-2 50ms")
    if not 0 <= options.loss <= 100:
        raise UsageError(f"--loss {options.loss:g}: no share of packets", "use 0 to 100 percent")
    delay = Delay(milliseconds(words[1]), milliseconds(options.jitter, "--jitter "), options.loss)
    return failures.report(options, Slow(words[0], delay))


def milliseconds(text: str, flag: str = "") -> float:
    """A time such as ``50ms``, ``1.5s`` or ``800us``; without a unit it is milliseconds.

    Raises:
        UsageError: it is none, or longer than a minute.
    """
    match = _DURATION.fullmatch(text)
    found = float(match[1]) * _UNITS[match[2] or ""] if match else -1.0
    if not 0 <= found <= _MOST_MS:
        raise UsageError(f"{flag}{text}: no usable time", "write 50ms, 1.5s or 800us, a minute at most")
    return found


def _count(options: argparse.Namespace, words: tuple[str, ...], least: int, most: int, hint: str) -> None:
    if not least <= len(words) <= most:
        given = " ".join(words) or "nothing"
        raise UsageError(f"link {options.action}: {given} is not what it takes", hint)
