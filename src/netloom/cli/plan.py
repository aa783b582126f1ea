"""``netloom plan -f CHANGE...``: who would newly reach whom, and who no longer would. Nothing is changed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from netloom.cli.facts import facts_for
from netloom.cli.output import add_output, emit
from netloom.cli.session import add_target, client_of
from netloom.errors import Untrue, UsageError
from netloom.kube.client import KubeClient
from netloom.model.inputs import ClusterFacts
from netloom.observe.estate.cluster import Loaded, load_estate
from netloom.observe.estate.estate import Estate, Ref, applied
from netloom.observe.estate.kinds import kind_named
from netloom.observe.estate.manifests import STDIN, Manifests, read_manifests
from netloom.observe.plan import Change, PlanReport, plan
from netloom.observe.plan_text import render_plan

CHANGES = 2
_EPILOG = """What is there is read from the local cluster, from the one of --kubeconfig, or, with --from, from manifests alone: then the
workloads in them say what pods there would be, and no cluster is needed. The change is what `kubectl apply -f` of the
files would do, and `kubectl delete` of what --delete names. Files may be YAML or JSON, directories, or - for standard input.

for example:
  netloom plan -f policies/
  netloom plan --delete netpol/db -n shop
  netloom plan --from deploy/ -f change.yaml --fail-on lost
  netloom plan --from deploy/ --delete old.yaml -f new.yaml -o json

exit codes:
  0 nothing changes for anybody   2 somebody gains or loses something
  with --fail-on: 8 where that happens which must not, otherwise 0
  2 also, with a message on standard error, where the command line or a file cannot be used; 4 where an object to delete
  is not there; 6 where the cluster does not answer
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="FILE", help="what would be applied"
    )
    parser.add_argument(
        "--delete",
        action="append",
        default=[],
        metavar="FILE|KIND/NAME",
        help="what would be deleted: the objects of a file, or one object",
    )
    parser.add_argument(
        "--from",
        dest="base",
        action="append",
        default=[],
        metavar="DIR",
        help="manifests of what is there, in place of a cluster",
    )
    parser.add_argument(
        "-n", "--namespace", default="default", help="namespace of what names none (default: %(default)s)"
    )
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=("lost", "gained"),
        help="exit with 8 where anything is lost, or gained, and with 0 otherwise",
    )
    parser.add_argument("--all", action="store_true", help="show every row, however many")
    add_target(parser)
    add_output(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Compare."""
    if not options.filename and not options.delete:
        raise UsageError(
            "plan: no change is given", "name files with -f, or what would be deleted with --delete"
        )
    if [*options.filename, *options.delete, *options.base].count(STDIN) > 1:
        raise UsageError("plan: standard input can be read once only", f"give {STDIN} once")
    with uncollected():
        loaded, facts = base_of(options, options.base)
        given = read_manifests(options.filename, options.namespace)
        change, notes = _change(given, options.delete, options.namespace)
        report = plan(loaded.estate, change, facts)
    notes = tuple(dict.fromkeys((*loaded.notes, *given.notes, *notes, *report.notes)))
    report = msgspec.structs.replace(report, notes=notes)
    emit(report, options.output, render_plan(report, everything=options.all))
    return exit_code(report, options.fail_on)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the search for cycles: nearly all that is made here is needed to the end, and the search takes a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def exit_code(report: PlanReport, fail_on: Sequence[str]) -> int:
    """See the verb's help."""
    happened = {"lost": report.has_lost, "gained": report.has_gained}
    if fail_on:
        return Untrue.exit_code if any(happened[word] for word in fail_on) else 0
    return CHANGES if any(happened.values()) else 0


def base_of(options: argparse.Namespace, paths: Sequence[str]) -> tuple[Loaded, ClusterFacts | None]:
    """What is there: of manifests where any are named, else of the cluster, with its settings where they are known."""
    if paths:
        manifests = read_manifests(paths, options.namespace or "default")
        estate = applied(Estate(), ((one.ref, one.obj) for one in manifests.given))
        return Loaded(estate, manifests.notes), None
    loaded = asyncio.run(_load(client_of(options)))
    return loaded, None if options.kubeconfig else facts_for(options)(loaded.estate.view())


async def _load(client: KubeClient) -> Loaded:
    async with client:
        return await load_estate(client)


def _change(given: Manifests, deletions: Iterable[str], namespace: str) -> tuple[Change, tuple[str, ...]]:
    files = {one.ref: one.file for one in given.given}
    refs: list[Ref] = []
    notes: list[str] = []
    for text in deletions:
        if text == STDIN or Path(text).exists():
            found = read_manifests([text], namespace)
            refs += [one.ref for one in found.given]
            files |= {one.ref: one.file for one in found.given}
            notes += found.notes
        else:
            refs.append(_ref(text, namespace))
    apply = tuple((one.ref, one.obj) for one in given.given)
    return Change(apply, tuple(dict.fromkeys(refs)), files), tuple(notes)


def _ref(text: str, namespace: str) -> Ref:
    """``netpol/db``, ``netpol/shop/db``."""
    parts = text.split("/")
    kind = kind_named(parts[0])
    if len(parts) not in (2, 3) or not all(parts) or kind is None:
        hint = "name a file that is there, or KIND/NAME such as netpol/db (KIND/NAMESPACE/NAME works, too)"
        raise UsageError(f"--delete {text}: is no file, and no object of a kind that counts here", hint)
    if not kind.resource.namespaced:
        return Ref(kind.name, "", parts[-1])
    return Ref(kind.name, parts[1] if len(parts) == 3 else namespace, parts[-1])
