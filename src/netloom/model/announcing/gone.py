"""Nodes that are held to be dead: an input of the model, of each node alone.

Comes in: what the members tell each other (the node's speaker), and conditions of Nodes. Goes out: a value for each node that no duty is given to.
Not here: how a death is noticed (``announce/members``), and what follows from it.
"""

from __future__ import annotations

import msgspec

from netloom.api.core import Node
from netloom.units import ObjectKey

_READY = "Ready"


class GoneNode(msgspec.Struct, frozen=True, gc=False):
    """A node that nobody gives duties to: it does not answer the others, has said good-bye, or its Node is not ready."""

    name: str

    @property
    def key(self) -> ObjectKey:
        """As inputs of the model are known: no namespace."""
        return ObjectKey("", self.name)


def is_unready(node: Node) -> bool:
    """Whether a Node says that it is not ready (condition ``Ready`` False or Unknown); one that says nothing is not unready."""
    return any(c.type == _READY and c.status != "True" for c in node.status.conditions)
