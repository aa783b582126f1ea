"""What a container is to its pod, and what plays it. Values only."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

import msgspec

from netloom.errors import InvalidObject
from netloom.local.runner.images import standin_image_id
from netloom.local.runner.running import Refused, Running
from netloom.local.runner.spec import Container


class Role(enum.Enum):
    """What a container is to its pod."""

    MAIN = "main"
    INIT = "init"
    """It runs to its end before others start."""
    SIDECAR = "sidecar"
    """It accompanies the others, and ends after them (an init container with ``restartPolicy: Always``)."""
    EPHEMERAL = "ephemeral"
    """Somebody added it to look around; it is never restarted."""


class Launched(msgspec.Struct, frozen=True):
    """A container that runs a program of its image."""

    running: Running
    image: str
    """The image's full name."""


Launch = Callable[[int], Awaitable[Launched | None]]
"""Starts a life with that number; None where a stand-in is to play it. Raises Refused."""


def is_restarted(role: Role, of_pod: str, exit_code: int) -> bool:
    """Whether a container that ended is started again, under the pod's ``restartPolicy``."""
    policy = {Role.SIDECAR: "Always", Role.EPHEMERAL: "Never"}.get(role, of_pod)
    if role is Role.INIT and of_pod == "Always":
        policy = "OnFailure"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def notes_of(container: Container) -> tuple[str, ...]:
    """What the log of a stand-in should tell of it."""
    notes = []
    if container.command or container.args:
        notes.append("command and args are not run: the stand-in only listens and answers")
    if container.env or container.env_from:
        notes.append("environment variables are there for exec; the stand-in does not read them")
    return tuple(notes)


def check_name(image: str) -> None:
    """It is the name of an image.

    Raises:
        Refused: it is not.
    """
    try:
        standin_image_id(image, subject="a container")
    except InvalidObject as error:
        raise Refused("InvalidImageName", str(error)) from error
