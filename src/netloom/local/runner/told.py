"""What a runner before us told of containers (core/v1 ContainerStatus), as far as this one goes on from it. Pure; readers only."""

from __future__ import annotations

import datetime as dt

import msgspec


class OldRunning(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerStateRunning."""

    started_at: dt.datetime | None = None


class OldTerminated(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerStateTerminated."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    signal: int = 0
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None


class OldState(msgspec.Struct, frozen=True):
    """core/v1 ContainerState."""

    running: OldRunning | None = None
    terminated: OldTerminated | None = None


class OldContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerStatus."""

    name: str
    restart_count: int = 0
    container_id: str = msgspec.field(name="containerID", default="")
    image: str = ""
    image_id: str = msgspec.field(name="imageID", default="")
    ready: bool = False
    started: bool = False
    state: OldState = OldState()
    last_state: OldState = OldState()

    @property
    def running_since(self) -> float | None:
        """Seconds since the epoch; None where it did not run."""
        started = self.state.running.started_at if self.state.running is not None else None
        return started.timestamp() if started is not None else None
