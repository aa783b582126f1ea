"""A connection tracking table in memory, for tests of what ends flows. In: flows put there. Out: those that are left.

Kernel and fake are held together by ``tests/contract/test_conntrack_contract.py``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from netloom.errors import KernelError
from netloom.program.conntrack import Flow, FlowFilter


class FakeConntrack:
    """Stands where ``linux.conntrack.Conntrack`` does.

    Args:
        flows: what is tracked at the beginning.
    """

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.flows = list(flows)
        self.is_broken = False
        """While true, the table cannot be read."""

    def dump(self, wanted: FlowFilter) -> list[Flow]:
        """The flows that fit the filter.

        Raises:
            KernelError: while it is broken.
        """
        if self.is_broken:
            raise KernelError("list conntrack", errno.EPERM, os.strerror(errno.EPERM))
        return [
            flow
            for flow in self.flows
            if flow.family is wanted.family
            and wanted.protocol in {None, flow.protocol}
            and wanted.destination in {None, flow.original.destination}
            and wanted.destination_port in {None, flow.original.destination_port}
        ]

    def delete(self, flows: Iterable[Flow]) -> int:
        """End exactly these flows; how many were still there."""
        doomed = [flow for flow in flows if flow in self.flows]
        self.flows = [flow for flow in self.flows if flow not in doomed]
        return len(doomed)
