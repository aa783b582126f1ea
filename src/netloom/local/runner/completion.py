"""When a stand-in ends by itself, and how. Pure: a pod in, seconds and an exit code out.

A stand-in is a server and has nothing to finish, but a pod of a Job is there to end: it ends well after a moment. Two annotations
of the pod (of the Job's ``spec.template``) say otherwise, for any pod that may end: ``netloom.io/exit-code`` and
``netloom.io/run-seconds``. Not here: programs of real images, which end when they do.
"""

from __future__ import annotations

import msgspec

from netloom.local.runner.spec import Container, Pod

EXIT_CODE, RUN_SECONDS = "netloom.io/exit-code", "netloom.io/run-seconds"
RUN_S = 0.2
"""Long enough for its status to have been Running, and short for whoever waits for it."""
_LONGEST_S = 7 * 86400
_KILLED_FROM = 256


class Completion(msgspec.Struct, frozen=True):
    """A stand-in's end: seconds after it began to run, and the exit code that it gives."""

    after_s: float
    exit_code: int


def completion_of(pod: Pod, container: Container) -> Completion | None:
    """How the stand-in of this container ends by itself; None where it runs until it is told to end.

    Containers that are always restarted (``restartPolicy``) do not end, nor do sidecars.
    """
    if "Always" in (pod.spec.restart_policy, container.restart_policy):
        return None
    notes = pod.metadata.annotations
    is_of_a_job = any(o.controller and o.kind == "Job" for o in pod.metadata.owner_references)
    if not is_of_a_job and not notes.keys() & {EXIT_CODE, RUN_SECONDS}:
        return None
    seconds = _number(notes.get(RUN_SECONDS), _LONGEST_S)
    code = _number(notes.get(EXIT_CODE), _KILLED_FROM - 1)
    return Completion(RUN_S if seconds is None else float(seconds), code or 0)


def _number(text: str | None, most: int) -> int | None:
    """A decimal number within its limits; None where it is none."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 9:
        return None
    return int(text) if int(text) <= most else None
