"""What verbs there are, as data: the command, its help and its shell completion are made from this one table.

Nothing heavy is imported here: `netloom --help` must answer at once.
"""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb: its word, the module that does it, and a line of help."""

    word: str
    module: str
    help: str


VERBS = (
    Verb("up", "netloom.cli.up", "start a cluster on this machine"),
    Verb("down", "netloom.cli.down", "end a cluster and remove everything of it"),
    Verb("status", "netloom.cli.status", "show clusters, their nodes and pods"),
    Verb("kubeconfig", "netloom.cli.kubeconfig", "print a cluster's kubeconfig, or the path to it"),
    Verb("image", "netloom.cli.image", "load, pull, list and remove images of real programs for pods"),
    Verb("exec", "netloom.cli.exec", "run a program inside a pod"),
    Verb("client", "netloom.cli.client", "run a program outside of a cluster, on its underlay"),
    Verb("publish", "netloom.cli.publish", "open a port of this host that leads to a Service"),
    Verb("node", "netloom.cli.node", "switch nodes of a cluster off and on: stop, kill, start"),
    Verb("link", "netloom.cli.link", "cut, slow down and heal the links of a cluster's nodes"),
    Verb("why", "netloom.cli.why", "say what happens to a packet, and which object and field is responsible"),
    Verb(
        "plan", "netloom.cli.plan", "say who would gain or lose reachability by a change, before it is made"
    ),
    Verb("matrix", "netloom.cli.matrix", "show who reaches whom, as a table, as JSON, or as a page"),
    Verb(
        "drift",
        "netloom.cli.drift",
        "show what others changed in the nodes' kernel rules, and what became of it",
    ),
    Verb("check", "netloom.cli.check", "check the model against real packets, and both against expectations"),
    Verb("drops", "netloom.cli.drops", "show packets that policies dropped: from whom, for whom, and why"),
    Verb("ipam", "netloom.cli.ipam", "show addresses of pods: pools, ranges, who has or had one, since when"),
    Verb("wait", "netloom.cli.wait", "wait until the nodes have a Service or a pod in force"),
    Verb("demo", "netloom.cli.demo", "start a cluster with the example shop and check every path in it"),
    Verb("agent", "netloom.cli.agent", "run the node agent (on a real node)"),
    Verb(
        "gateway",
        "netloom.cli.gateway",
        "show what the gateways of nodes have in force, or be a node's gateway",
    ),
    Verb(
        "ingress",
        "netloom.cli.ingress",
        "turn Ingresses of the retired controller into Gateway API, with proof",
    ),
    Verb("controller", "netloom.cli.controller", "do what a cluster needs once (on a real cluster)"),
    Verb(
        "speaker", "netloom.cli.speaker", "say who answers for which address outside, or be a node's speaker"
    ),
    Verb("dns", "netloom.cli.dns", "say what a pod is told of a name and why, or run the node's DNS server"),
    Verb("completion", "netloom.cli.completion", "print a completion script for bash, zsh or fish"),
)
