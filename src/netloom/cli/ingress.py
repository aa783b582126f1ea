"""``netloom ingress migrate -f DIR``: Ingresses of the retired controller as Gateway API objects, what is lost, and the proof that both do the same."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netloom.cli.output import emit, table
from netloom.clock import SystemClock
from netloom.errors import StorageError, Untrue, UsageError
from netloom.kube.manifests import documents
from netloom.model.gateways.migrate.convert import Migration, migrate
from netloom.model.gateways.migrate.made import Weight
from netloom.observe.migration.haproxy import program
from netloom.observe.migration.proof import Proof, differences, prove

_EPILOG = """Reads the Ingresses in manifests, with the annotations of the retired controller (nginx.ingress.kubernetes.io), and writes a Gateway, routes,
TrafficPolicies and ReferenceGrants that do the same. Services and ConfigMaps among the manifests are read where something depends on them. What does not
come over as it was is listed with object and field. The proof sends requests that are made from the rules to both: to the Ingresses as the controller's
documentation words them, and to what was made, by its model and on a real HAProxy on loopback. Nothing is changed in any cluster.

for example:
  netloom ingress migrate -f deploy/ -O gateway.yaml
  kubectl get ingress -A -o yaml | netloom ingress migrate -f -
  netloom ingress migrate -f deploy/ --accept-losses -o json        in a pipeline

exit codes: 0 everything comes over and nothing differs; 8 something is lost, or differs from what the list says; 2 a file cannot be used;
with --accept-losses: 0 as long as nothing differs that is not in the list
"""
PROOFS = ("auto", "haproxy", "model", "no")


class Report(msgspec.Struct, frozen=True):
    """What ``-o json`` prints."""

    ingresses: int
    objects: list[dict[str, Any]]
    losses: list[dict[str, str]]
    proof: dict[str, Any] | None
    is_whole: bool
    """Nothing is lost."""
    is_proven: bool | None
    """None: nobody was asked."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("what", choices=("migrate",), help="turn Ingresses into Gateway API objects")
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE", help="a file, a directory, or -"
    )
    parser.add_argument("-O", "--out", metavar="FILE", help="where the objects go (default: standard output)")
    parser.add_argument(
        "--class", dest="class_name", default="netloom", help="GatewayClass (default: %(default)s)"
    )
    parser.add_argument(
        "--gateway",
        default="",
        metavar="NAMESPACE/NAME",
        help="the Gateway (default: ingress, beside the Ingresses)",
    )
    parser.add_argument(
        "--prove",
        choices=PROOFS,
        default="auto",
        help="send requests to both: auto is haproxy where there is one, else model (default: %(default)s)",
    )
    parser.add_argument(
        "--accept-losses", action="store_true", help="a loss that is listed is no reason to fail"
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="how to print (default: text)"
    )
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Turn, prove, show."""
    read = documents(options.filename)
    migration = migrate(read, class_name=options.class_name, gateway=options.gateway)
    if not migration.ingresses:
        raise UsageError(
            "no networking.k8s.io/v1 Ingress among the manifests", "give the files that have them with -f"
        )
    proof = _proof(options, migration, read)
    if options.out:
        _write(Path(options.out), _yaml(migration))
    if options.output == "json":
        emit(_report(migration, proof), "json", "")
    else:
        if not options.out:
            print(_yaml(migration), end="")
        print(text_of(migration, proof), file=sys.stdout if options.out else sys.stderr)
    is_good = (migration.is_whole or options.accept_losses) and (proof is None or proof.is_proven)
    return 0 if is_good else Untrue.exit_code


def _proof(options: argparse.Namespace, migration: Migration, read: list[dict[str, Any]]) -> Proof | None:
    if options.prove == "no":
        return None
    is_there = bool(program())
    if options.prove == "haproxy" and not is_there:
        raise UsageError(
            "--prove haproxy: there is no haproxy on this machine", "install it, or use --prove model"
        )
    with_engine = is_there and options.prove != "model"
    now = SystemClock().wall()
    return prove(migration, read, now=now, class_name=options.class_name, with_engine=with_engine)


def _yaml(migration: Migration) -> str:
    return "".join(
        "---\n" + yaml.dump(one, Dumper=_Plain, sort_keys=False, width=120) for one in migration.objects
    )


class _Plain(yaml.SafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}", "give a file that can be written with -O") from error


def text_of(migration: Migration, proof: Proof | None) -> str:
    """What people read."""
    kinds: dict[str, int] = {}
    for one in migration.objects:
        kinds[one["kind"]] = kinds.get(one["kind"], 0) + 1
    made = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    lines = [f"{len(migration.ingresses)} Ingresses became {made}"]
    for weight, words in (
        (Weight.LOST, "lost"),
        (Weight.CHANGED, "not quite as it was"),
        (Weight.IDLE, "not needed any more"),
    ):
        found = [loss.words for loss in migration.losses if loss.weight is weight]
        if found:
            lines += ["", f"{words}:", *(f"  {one}" for one in found)]
    return "\n".join([*lines, "", *_proof_lines(proof)])


def _proof_lines(proof: Proof | None) -> list[str]:
    if proof is None:
        return ["not proven: nobody was asked"]
    asked = f"{proof.by_model.asked} requests by the model"
    if proof.by_engine is not None:
        asked += f", {proof.by_engine.asked} of them through HAProxy"
    found = differences(proof)
    listed = sum(1 for one in found if one.listed)
    lines = [f"asked: {asked}", *(f"the made objects have a fault: {one}" for one in proof.findings)]
    if unlisted := [one for one in found if not one.listed]:
        rows = [(one.sample.words, one.before.words, one.after.words) for one in unlisted]
        return [
            *lines,
            "",
            table(("REQUEST", "BEFORE", "NOW"), rows),
            "",
            "NOT PROVEN: these differ, and nothing above says so",
        ]
    said = f"; {listed} differ as is said above" if listed else ""
    return [*lines, f"proven: the same answers{said}" if proof.is_proven else "NOT PROVEN"]


def _report(migration: Migration, proof: Proof | None) -> Report:
    losses = [
        {
            "weight": one.weight.value,
            "ingress": one.ingress,
            "field": one.field,
            "value": one.value,
            "says": one.says,
        }
        for one in migration.losses
    ]
    told = None
    if proof is not None:
        rows = [
            {"request": d.sample.words, "before": d.before.words, "now": d.after.words, "listed": d.listed}
            for d in differences(proof)
        ]
        engine = proof.by_engine
        told = {
            "by_model": proof.by_model.asked,
            "by_haproxy": None if engine is None else engine.asked,
            "differences": rows,
            "findings": list(proof.findings),
        }
    is_proven = None if proof is None else proof.is_proven
    return Report(
        len(migration.ingresses), list(migration.objects), losses, told, migration.is_whole, is_proven
    )
