"""Which endpoints of a port get new connections, and why each other one does not.

Comes in: candidates, where the node is. Goes out: pools. The rules: KEP-1669 (where no endpoint is ready, those that still
serve while they terminate do), KEP-2086 and core/v1 ServiceSpec (traffic policies), ``topology.py`` (hints).
"""

from __future__ import annotations

from netloom.model.provenance import Source
from netloom.model.services.backends import Candidates
from netloom.model.services.frontends import Backend, FrontendAction, LeftOut, Pool
from netloom.model.services.slices import ReadEndpoint, Usability
from netloom.model.services.topology import Nearness, Place, Preference, is_near, preference_of, remoteness

_BALANCE, _REJECT, _DROP = FrontendAction.BALANCE, FrontendAction.REJECT, FrontendAction.DROP
_ANYWHERE = Nearness.ANYWHERE
_READY, _SERVING_TERMINATING = Usability.READY, Usability.SERVING_TERMINATING


class Pools:
    """The pools of one Service port in one family on one node, each made when it is asked for."""

    def __init__(self, candidates: Candidates, place: Place, distribution: str | None) -> None:
        self._given = candidates
        self._place = place
        self._distribution = distribution
        self._cluster: Pool | None = None
        self._local: dict[str, Pool] = {}

    @property
    def preference(self) -> Preference:
        """How near an endpoint has to be where the policy is Cluster."""
        return preference_of(self._given.endpoints, self._place)

    @property
    def cluster(self) -> Pool:
        """For a traffic policy of Cluster: the near ones that are ready, else any that terminate and still serve."""
        if self._cluster is None:
            self._cluster = self._make_cluster()
        return self._cluster

    def _make_cluster(self) -> Pool:
        given = self._given
        if given.is_plain:
            return Pool(_BALANCE if given.backends else _REJECT, given.backends)
        offered = self._offered
        nearness = self.preference.nearness if offered is _READY else _ANYWHERE
        chosen: list[Backend] = []
        left_out = list(given.left_out)
        for backend, endpoint in zip(given.backends, given.endpoints, strict=True):
            if endpoint.usability is not offered:
                left_out.append(_unwilling(backend, endpoint))
            elif not is_near(endpoint, nearness, self._place):
                field, reason = remoteness(endpoint, nearness, self._place, self._distribution)
                left_out.append(LeftOut(str(backend), reason, _field_of(endpoint.source, field)))
            else:
                chosen.append(backend)
        return Pool(_BALANCE if chosen else _REJECT, tuple(chosen), _in_order(left_out))

    def local(self, field: str) -> Pool:
        """For a traffic policy of Local, which ``field`` of the Service says: those of this node.

        Where this node has none, but another has, nobody answers: whoever balances among nodes finds the other. Where no
        node has any, new connections are refused.
        """
        found = self._local.get(field)
        if found is None:
            found = self._local[field] = self._make_local(field)
        return found

    def _make_local(self, field: str) -> Pool:
        given, node = self._given, self._place.node
        here = [one.usability for one in given.endpoints if one.node == node]
        offered = _first_usable(here)
        chosen: list[Backend] = []
        left_out = list(given.left_out)
        for backend, endpoint in zip(given.backends, given.endpoints, strict=True):
            if endpoint.node != node:
                where = f"on {endpoint.node}" if endpoint.node else "on no known node"
                at = _field_of(endpoint.source, "nodeName")
                left_out.append(LeftOut(str(backend), f"{where}, and {field} is Local", at))
            elif endpoint.usability is offered:
                chosen.append(backend)
            else:
                left_out.append(_unwilling(backend, endpoint))
        nobody = _REJECT if self._offered is None else _DROP
        return Pool(_BALANCE if chosen else nobody, tuple(chosen), _in_order(left_out))

    def draining(self, *used: Pool) -> tuple[Backend, ...]:
        """All candidates that are in none of these pools, in order."""
        everybody = self._given.backends
        for pool in used:
            if len(pool.backends) == len(everybody):
                return ()
        chosen = {id(backend) for pool in used for backend in pool.backends}
        return tuple(backend for backend in everybody if id(backend) not in chosen)

    @property
    def _offered(self) -> Usability | None:
        return _first_usable([one.usability for one in self._given.endpoints])


def _first_usable(offers: list[Usability]) -> Usability | None:
    """What is used where these are offered; None where nobody can be."""
    if _READY in offers:
        return _READY
    return _SERVING_TERMINATING if _SERVING_TERMINATING in offers else None


def _unwilling(backend: Backend, endpoint: ReadEndpoint) -> LeftOut:
    match endpoint.usability:
        case Usability.READY | Usability.SERVING_TERMINATING:
            field, reason = "conditions.terminating", "terminating, while others are ready"
        case Usability.TERMINATING:
            field, reason = "conditions.serving", "terminating and no longer serving"
        case _:
            field, reason = "conditions.ready", "not ready"
    return LeftOut(str(backend), reason, _field_of(endpoint.source, field))


def _field_of(source: Source, field: str) -> Source:
    return source.at(f"{source.field}.{field}")


def _in_order(left_out: list[LeftOut]) -> tuple[LeftOut, ...]:
    return tuple(sorted(left_out, key=lambda out: (out.source, out.address, out.reason)))
