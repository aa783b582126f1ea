"""What a hostPort does to a packet that reaches it on its node: on to the pod, with the sender's own address.

Comes in: the way so far, the frontend. Goes out: the way on. Not here: who wins a port that several ask for (``model/network.py``),
the route to the pod and its policies (``path.py``).
"""

from __future__ import annotations

from netloom.model.inputs import NodeFacts
from netloom.model.services.frontends import Frontend, FrontendKind
from netloom.model.walk.steps import Stage
from netloom.model.walk.trail import Trail
from netloom.units import Addr


def is_served(frontend: Frontend, facts: NodeFacts, destination: Addr) -> bool:
    """Whether a frontend holds for a packet to this address on this node: a ``hostIP`` only where the node has it."""
    is_given = frontend.kind is FrontendKind.HOST_PORT and frontend.key.address is not None
    return not is_given or destination in facts.addresses


def to_pod(trail: Trail, frontend: Frontend) -> Trail:
    """On to the pod behind a hostPort."""
    subject, source = frontend.source.subject, frontend.source
    (backend,) = frontend.backends
    given = frontend.key.address
    where = f"all addresses of {trail.node}" if given is None else f"{given} alone (hostIP)"
    text = f"{trail.packet} is hostPort {frontend.key.port} of {subject}, served at {where}"
    trail = trail.then(Stage.SERVICE, text, source)
    trail = trail.then(Stage.NAT, f"destination becomes {backend}", source)
    return trail.sent_to(backend.address, backend.port, source)
