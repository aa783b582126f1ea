"""A small shop for checks, and packets that do what a model of it says, but for what a test says otherwise.

Comes in: specs of policies in YAML. Goes out: a cluster, and a stand-in for ``observe.check.prober.Prober``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from netloom.api.core import Namespace
from netloom.model.inputs import ClusterView
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.targets import read_destination, read_origin
from netloom.model.walk.walk import walk
from netloom.observe.check.prober import End, Probe, Seen
from netloom.testing import builders as b
from netloom.testing.policy_universe import CLUSTER, NODES
from netloom.testing.policy_words import HTTP, POSTGRES, policies, with_objects

ONLY_API = """
podSelector: {matchLabels: {role: db}}
ingress: [{from: [{podSelector: {matchLabels: {role: api}}}], ports: [{port: postgres}]}]
"""


def shop(*specs: str) -> ClusterView:
    """web, api and db in shop, a Service for the database, a probe in ops."""
    view = b.view(
        Namespace(metadata=b.meta("shop", labels={"team": "shop"})),
        Namespace(metadata=b.meta("ops", labels={"team": "ops"})),
        *(
            b.node(name, *addresses, pod_cidrs=[f"10.244.{name[-1]}.0/24"], labels={"zone": name[-1]})
            for name, addresses in NODES.items()
        ),
        b.pod("shop/web", "10.244.1.2", node="node-1", labels={"role": "web"}, ports=[HTTP]),
        b.pod("shop/api", "10.244.1.3", node="node-1", labels={"role": "api"}, ports=[HTTP]),
        b.pod("shop/db", "10.244.2.2", node="node-2", labels={"role": "db"}, ports=[POSTGRES]),
        b.pod("ops/probe", "10.244.2.3", node="node-2", labels={"role": "api"}, ports=[HTTP]),
        b.service("shop/db", "10.96.0.20", ports=[b.port(5432, "pg")], selector={"role": "db"}),
        b.endpoint_slice("shop/db-1", "db", b.endpoint("10.244.2.2", node="node-2"), ports=[("pg", 5432)]),
    )
    return with_objects(view, *policies(*specs))


class ModelPackets:
    """Packets as they fare in a cluster whose kernels do what ``truth`` says.

    Args:
        truth: the objects that are in force.
        listening: the ports at which pods answer.
        ends: by sender, host and port, where another end is wanted.
    """

    def __init__(
        self,
        truth: ClusterView,
        listening: Collection[int] = (8080, 5432),
        ends: Mapping[tuple[str, str, int], End] | None = None,
    ) -> None:
        self._cluster = ClusterModel(truth, CLUSTER)
        self._listening = listening
        self._ends = ends or {}
        self.asked: list[Probe] = []
        """What was asked so far."""

    async def ask(self, probes: Sequence[Probe], *, on_seen: Callable[[], None] = lambda: None) -> list[Seen]:
        """What became of each."""
        self.asked += probes
        for _ in probes:
            on_seen()
        return [Seen(self._end(probe)) for probe in probes]

    def _end(self, probe: Probe) -> End:
        wanted = self._ends.get((str(probe.source), probe.host, probe.port))
        if wanted is not None:
            return wanted
        origin = read_origin(f"pod/{probe.source}", self._cluster)
        text = f"{probe.host}:{probe.port}/{probe.protocol.word}"
        outcome = walk(
            self._cluster, origin, read_destination(text, self._cluster, probe.source.namespace)
        ).ending.outcome.value
        if outcome == "DELIVERED":
            return End.ANSWERED if probe.port in self._listening else End.REFUSED
        return {"REJECTED": End.REFUSED, "EXTERNAL": End.UNREACHABLE}.get(outcome, End.SILENT)
