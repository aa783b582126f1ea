"""``netloom check``: model against real packets, and both against what people expect."""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from netloom.cli.errors import only_error
from netloom.cli.facts import facts_for
from netloom.cli.nodes import local_sockets
from netloom.cli.output import Progress
from netloom.cli.session import add_target, client_of
from netloom.errors import Untrue, UsageError
from netloom.kube.client import KubeClient
from netloom.linux.questions import follow
from netloom.observe.check import junit, words
from netloom.observe.check.dropfeed import DropFeed
from netloom.observe.check.ends import MOST_CASES
from netloom.observe.check.expectations import MAX_BYTES, SUFFIX, Expectation, read_expectations
from netloom.observe.check.prober import TIMEOUT_S, Prober
from netloom.observe.check.run import Check, CheckReport
from netloom.observe.why import load_view

_EPILOG = f"""Without -f: every workload to every port of every other one and to every Service, as the model says. With -f: what the files
expect; files of a directory end in {SUFFIX}. Each deny must be seen to block and each allow to pass, by packets from inside the pods.

  namespace: shop
  expectations:
    - web can reach cart:80
    - everybody else cannot reach cart:80
    - {{from: {{namespaces: team=ops, pods: app=probe}}, to: db:5432, expect: deny}}

for example:
  netloom check
  netloom check -f shop{SUFFIX} --mutate
  netloom check -f examples/shop --output junit > check.xml
  netloom check -f shop{SUFFIX} --no-packets --kubeconfig ~/.kube/config

exit codes: 0 all hold, 8 something does not (with --strict also: something could not fail, or nobody would miss it)
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="EXPECTATIONS",
        help="a file of expectations, or a directory of them",
    )
    parser.add_argument(
        "--mutate",
        action="store_true",
        help="take each part of each policy away, in the model, and name those that nobody would miss",
    )
    parser.add_argument(
        "--no-packets", action="store_true", help="send nothing: what the model says, for any cluster"
    )
    parser.add_argument(
        "--strict", action="store_true", help="what could not fail, or would not be missed, is a failure"
    )
    parser.add_argument(
        "--most", type=int, default=MOST_CASES, help="at most so many connections (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="S",
        help="for one connection (default: %(default)s)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show what holds, too")
    add_target(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json", "junit"),
        default="text",
        help="how to print (default: text)",
    )
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Check, and tell."""
    if options.kubeconfig and not options.no_packets:
        raise UsageError(
            "--kubeconfig: packets are sent from inside pods of local clusters only",
            "add --no-packets, or use --name",
        )
    if not 1 <= options.most <= 100_000 or not 0 < options.timeout <= 60:
        raise UsageError("--most, --timeout: out of range", "use 1 to 100000, and up to 60 seconds")
    expectations = [one for path in options.file for one in _read(Path(path))]
    progress = Progress(quiet=options.output != "text")
    try:
        report = asyncio.run(_check(options, expectations, progress))
    except BaseExceptionGroup as group:
        raise only_error(group) from None
    progress.done()
    print(_shown(report, options))
    return 0 if report.is_good(strict=options.strict) else Untrue.exit_code


async def _check(
    options: argparse.Namespace, expectations: Sequence[Expectation], progress: Progress
) -> CheckReport:
    sockets = {} if options.no_packets else local_sockets(options.name, [])
    feed = DropFeed({node: functools.partial(follow, path, "drops-follow") for node, path in sockets.items()})
    async with client_of(options) as client, asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(feed.run(), name="drops")
        await feed.ready()
        check = Check(
            load=functools.partial(load_view, client),
            facts=facts_for(options),
            packets=None if options.no_packets else _prober(client, feed, options),
            expectations=expectations,
            most=options.most,
        )
        report = await check.run(mutate=options.mutate, step=progress.step)
        hearing.cancel()
    problems = tuple(
        f"drops of {node} are not heard, so denied connections take {options.timeout:g} s each: {text}"
        for node, text in feed.problems.items()
    )
    return msgspec.structs.replace(report, problems=problems)


def _prober(client: KubeClient, feed: DropFeed, options: argparse.Namespace) -> Prober:
    # The interpreter behind any virtual environment: that may lie where pods have a directory of their own.
    return Prober(
        client=client, interpreter=os.path.realpath(sys.executable), feed=feed, timeout_s=options.timeout
    )


def _read(path: Path) -> Iterator[Expectation]:
    if path.is_dir():
        found = sorted(one for one in path.rglob(f"*{SUFFIX}") if one.is_file())
        if not found:
            raise UsageError(f"-f {path}: no expectations in this directory", f"their files end in {SUFFIX}")
    else:
        found = [path]
    for file in found:
        try:
            with file.open("rb") as opened:
                text = opened.read(MAX_BYTES + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"-f {file}: {error}", "name a readable file of UTF-8 text") from error
        yield from read_expectations(text, str(file))


def _shown(report: CheckReport, options: argparse.Namespace) -> str:
    if options.output == "json":
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
    if options.output == "junit":
        return junit.render(report, strict=options.strict).rstrip()
    return words.render(report, verbose=options.verbose)
