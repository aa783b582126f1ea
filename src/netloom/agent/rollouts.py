"""What a node does for rollouts: it tells what is in force here, hears what is in force elsewhere, and lets pods come and go by that.

Comes in: the parts of the agent that know. Goes out: the parts that tell, follow and wait, joined. Not here: what any of them does
(``acks_*``, ``drained_*``; docs/rollouts.md).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping

from netloom.agent.acks_follow import AckFollower
from netloom.agent.acks_gate import ReadinessGates
from netloom.agent.acks_publish import AckPublisher
from netloom.agent.drained_server import DrainedServer
from netloom.agent.drained_wait import DrainWaiter
from netloom.agent.own_node import OwnNode
from netloom.api.core import Node
from netloom.clock import Clock
from netloom.engine.acks import Acks
from netloom.kube.client import KubeClient
from netloom.program.names import POD_GATEWAYS
from netloom.units import Family, ObjectKey

LOCALHOST = ipaddress.IPv4Address("127.0.0.1")


class Rollouts:
    """The parts.

    Args:
        client: of the API.
        own: this node.
        nodes: all nodes, as they are.
        slices_seen: up to which resourceVersion EndpointSlices have been seen.
        acks: what is in force here.
        drained_port: where pre-stop hooks ask.
        clock: the time.
    """

    def __init__(  # noqa: PLR0913 - who wires it names each part
        self,
        *,
        client: KubeClient,
        own: OwnNode,
        nodes: Mapping[ObjectKey, Node],
        slices_seen: Callable[[], str],
        acks: Acks,
        drained_port: int,
        clock: Clock,
    ) -> None:
        self._publisher = AckPublisher(
            client=client,
            node=own.name,
            uid=lambda: own.uid,
            nodes=lambda: len(nodes),
            acks=acks,
            clock=clock,
        )
        self._follower = AckFollower(client, nodes=nodes, own=own.name)
        self.gates = ReadinessGates(
            client=client,
            node=own.name,
            node_version=lambda: own.version,
            follower=self._follower,
            clock=clock,
        )
        self.drains = DrainWaiter(
            client=client, node=own.name, slices_seen=slices_seen, follower=self._follower
        )
        self._drained = DrainedServer(
            waiter=self.drains,
            node_addresses=(LOCALHOST,),
            pod_addresses=(POD_GATEWAYS[Family.V4],),
            port=drained_port,
            clock=clock,
        )
        self.works = (self._publisher, self._follower, self.gates, self._drained)
        self.counted = (self._publisher, self.gates, self._drained)

    def nodes_changed(self) -> None:
        """Some node is another now."""
        self._follower.nodes_changed()
        self._publisher.look()
