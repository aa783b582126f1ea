"""``netloom gateway``: what the nodes' gateways have in force, or be a node's gateway, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

import msgspec

from netloom.cli.output import add_cluster, add_output, emit, table
from netloom.errors import NotFound, Unavailable, UsageError
from netloom.gateway.report import DoorReport, GatewayReport
from netloom.linux.questions import ask

_EPILOG = """A gateway on each node serves Ingresses and Gateway API: it tells HAProxy (2.6 or newer, in PATH) what the cluster says. `netloom up` runs
it by itself, and it does nothing until there is a Gateway or an Ingress. `netloom controller` makes the Services through which gateways have
addresses, and writes statuses.

One needs get, list and watch of Nodes, Namespaces, Services, EndpointSlices, Secrets, ConfigMaps, Ingresses, IngressClasses, all kinds of
gateway.networking.k8s.io and TrafficPolicies of netloom.io, and get, create and patch of Leases in kube-system. Secrets are followed in all
namespaces (but those of service accounts and of helm): a certificate may be anywhere that a ReferenceGrant lets it be.

for example:
  netloom gateway status                                     what the nodes of a local cluster have in force
  netloom gateway status --node node-2 -o json
  netloom gateway serve --node NODE --kubeconfig FILE        be a node's gateway, in the foreground
  netloom gateway serve --config FILE

exit codes: 0 all is in force, 6 a gateway does not answer, or has not in force what it should
"""


class NodeLine(msgspec.Struct, frozen=True):
    """One node's gateway, or why nobody knows."""

    node: str
    gateway: GatewayReport | None = None
    problem: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="status|serve", required=True)
    status = actions.add_parser("status", help="what gateways have in force")
    status.add_argument("--node", action="append", default=[], help="only this node; may be repeated")
    add_cluster(status)
    status.add_argument("--socket", metavar="PATH", help="ask the gateway behind this socket")
    add_output(status)
    serve = actions.add_parser("serve", help="be a node's gateway")
    serve.add_argument("--config", metavar="FILE", help="JSON or YAML, see netloom.gateway.config")
    serve.add_argument("--node", metavar="NAME", help="name of the Node that this is")
    serve.add_argument(
        "--kubeconfig", metavar="FILE", default="", help="credentials (default: the pod's own)"
    )
    serve.add_argument(
        "--directory", metavar="PATH", help="for files and sockets of HAProxy (default: /run/netloom/gateway)"
    )


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    if options.action == "serve":
        return _serve(options)
    found = asyncio.run(_ask_all(_sockets(options)))
    emit(found, options.output, "\n\n".join(map(text_of, found)))
    return 0 if all(map(_is_well, found)) else Unavailable.exit_code


def _serve(options: argparse.Namespace) -> int:
    from netloom.gateway.config import GatewayConfig, load  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.gateway.main import run as serve  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    if options.config:
        if options.node or options.kubeconfig or options.directory:
            raise UsageError("--config and other options: the file says it all", "give one of the two")
        return serve(load(options.config))
    if not options.node:
        raise UsageError("neither --config nor --node", "give the name of the Node that this is")
    config = GatewayConfig(node=options.node, kubeconfig=options.kubeconfig)
    if options.directory:
        config = msgspec.structs.replace(
            config, directory=options.directory, socket=str(Path(options.directory) / "questions.sock")
        )
    return serve(config)


def _sockets(options: argparse.Namespace) -> dict[str, Path]:
    """By name of the node; without a name for ``--socket``.

    Raises:
        UsageError: both a socket and nodes are named.
        NotFound, Unavailable: no such cluster or node, or it does not run.
    """
    from netloom.cli.nodes import local_sockets  # noqa: PLC0415 - as above

    if options.socket:
        if options.node:
            raise UsageError("--socket and --node: a socket is one node's", "give one of them")
        return {"": Path(options.socket)}
    return {
        node: path.with_name("gateway.sock")
        for node, path in local_sockets(options.name, options.node).items()
    }


async def _ask_all(sockets: dict[str, Path]) -> tuple[NodeLine, ...]:
    return tuple(await asyncio.gather(*(_ask(node, path) for node, path in sockets.items())))


async def _ask(node: str, path: Path) -> NodeLine:
    try:
        report = msgspec.json.decode(await ask(path, "gateway"), type=GatewayReport)
    except (Unavailable, NotFound) as error:
        return NodeLine(node, problem=str(error))
    return NodeLine(node or report.node, report)


def _is_well(line: NodeLine) -> bool:
    report = line.gateway
    return report is not None and report.state in {"idle", "in force"} and not report.problems


def text_of(line: NodeLine) -> str:
    """One node for people."""
    report = line.gateway
    if report is None:
        return f"{line.node}: {line.problem}"
    if report.state == "idle":
        return f"{line.node}: idle, there is neither a Gateway nor an Ingress"
    head = (
        f"{line.node}: {report.state}; {len(report.doors)} ports, {report.pools} Service ports with {report.endpoints} endpoints; "
        f"{report.plans} plans, {report.reloads} of them by reload"
    )
    lines = [head, *(f"  {problem}" for problem in report.problems)]
    if report.doors:
        lines.append(table(("GATEWAY", "PORT", "SPEAKS", "AT", "LISTENERS"), [_row(d) for d in report.doors]))
    return "\n".join(lines)


def _row(door: DoorReport) -> tuple[str, ...]:
    listeners = ", ".join(f"{one.name} ({one.hostname or '*'}, {one.rules} rules)" for one in door.listeners)
    at = "-" if door.node_port is None else str(door.node_port)
    return door.gateway, str(door.port), door.transport, at, listeners
