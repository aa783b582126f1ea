"""The page of metrics: all sources asked when the page is asked for, and what the process itself uses.

Comes in: sources of samples. Goes out: the page. A source that fails leaves its metrics out, is counted and logged; the others stand.
"""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path

import netloom
from netloom.agent.servers.http import Request, Response
from netloom.clock import Clock
from netloom.metrics import CONTENT_TYPE, Sample, SampleSource, counter, gauge, render

log = logging.getLogger(__name__)


class MetricsPage:
    """``/metrics`` of one process.

    Args:
        sources: asked in this order.
    """

    def __init__(self, *, sources: Iterable[SampleSource]) -> None:
        self._sources = tuple(sources)
        self._failures = 0

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path != "/metrics":
            return Response.text(HTTPStatus.NOT_FOUND, "there is /metrics\n")
        samples: list[Sample] = []
        for source in self._sources:
            try:
                samples += source()
            except Exception:
                self._failures += 1
                log.exception("metrics of %r are left out", source)
        text = "How often a part of the agent could not say its metrics."
        samples.append(counter("netloom_metrics_failures_total", text, self._failures))
        return Response(HTTPStatus.OK, CONTENT_TYPE, render(samples).encode())


class ProcessSamples:
    """What this process uses, under the names that client libraries of the field share.

    Args:
        clock: the wall clock at the start of the process.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._started = clock.wall()

    def __call__(self) -> Iterable[Sample]:
        """CPU time, memory, files, start time, and the version."""
        times = os.times()
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        yield gauge("netloom_build_info", "1; the label has the version.", 1, version=netloom.__version__)
        text = "CPU time used, in user and kernel mode together."
        yield counter("process_cpu_seconds_total", text, times.user + times.system)
        resident = pages * resource.getpagesize()
        yield gauge("process_resident_memory_bytes", "Memory that is in RAM.", resident)
        yield gauge("process_open_fds", "Open files.", len(os.listdir("/proc/self/fd")))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield gauge("process_max_fds", "Most files that may be open.", most)
        text = "When the process started, in seconds since the epoch."
        yield gauge("process_start_time_seconds", text, self._started)
