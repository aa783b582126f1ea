"""walk(cluster, origin, destination): the whole way of a new connection, and why.

Comes in: a cluster, who sends, to whom. Goes out: a ``Walk``. It needs nothing but the API's objects: what a kernel really has
is compared elsewhere (observe/drift).
"""

from __future__ import annotations

from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.gateways import through_gateway
from netloom.model.walk.packet import Destination, Origin, OriginKind, UrlTarget
from netloom.model.walk.path import Paths
from netloom.model.walk.resolve import Start, resolve
from netloom.model.walk.steps import Walk, walk_of
from netloom.model.walk.trail import Trail


def walk(cluster: ClusterModel, origin: Origin, destination: Destination) -> Walk:
    """What happens to a new connection from ``origin`` to ``destination``.

    Raises:
        UsageError: the destination leaves open which port is meant.
    """
    if isinstance(destination.target, UrlTarget):
        branches = list(through_gateway(cluster, origin, destination.target))
        if branches:
            return walk_of(_described(origin), destination.text, branches)
    paths = Paths(cluster, origin)
    branches = []
    for start in resolve(cluster, origin, destination):
        if isinstance(start, Start):
            branches.extend(paths.send(Trail(start.share, start.packet, steps=start.steps)))
        else:
            branches.append(start)
    return walk_of(_described(origin), destination.text, branches)


def _described(origin: Origin) -> str:
    where = f" on {origin.node}" if origin.pod is not None and origin.node else ""
    is_outside = origin.kind is OriginKind.OUTSIDE  # its text is its address
    addresses = "" if is_outside or not origin.addresses else f" ({', '.join(map(str, origin.addresses))})"
    note = f"; {origin.note}" if origin.note else ""
    return f"{origin.text}{addresses}{where}{note}"
