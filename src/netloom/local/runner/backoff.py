"""How long a container waits before it is started again, and what is said meanwhile (core/v1 ContainerStateWaiting). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netloom.local.runner.running import Refused
from netloom.local.runner.spec import Pod

BACKOFF_S = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds before a restart, by how many there were in a row (CrashLoopBackOff of a kubelet)."""
STEADY_S = 600.0
"""A container that ran this long starts the row anew."""
_SYNC_S = 10.0
"""How often a kubelet looks at what does not depend on time: a ConfigMap that is missing, an image that must be there."""
_SHOWN_S = 2.0
"""How long ErrImagePull shows before ImagePullBackOff takes its place."""


_EVENTS = {
    "ErrImagePull": ("Failed", 'Failed to pull image "{image}": {said}'),
    "ErrImageNeverPull": ("ErrImageNeverPull", "{said}"),
    "InvalidImageName": ("InspectFailed", "{said}"),
}
"""What kubelets tell of images before they tell that a container failed: reason and message."""


def tell(refused: Refused, image: str, say: Callable[[str, str], None]) -> None:
    """Say with events that a container did not start: reason and message of each."""
    first, words = _EVENTS.get(refused.reason, ("", ""))
    if first:
        say(first, words.format(image=image, said=refused))
    say("Failed", f"Error: {refused.reason if first else refused.problem}")


def seconds(row: int) -> float:
    """The wait after so many lives in a row that did not last."""
    return BACKOFF_S[min(max(row, 0), len(BACKOFF_S) - 1)]


def restarting(wait_s: float, name: str, pod: Pod) -> str:
    """What the status of a container with this name says while it waits for its next life."""
    place = f"container={name} pod={pod.key.name}_{pod.key.namespace}({pod.uid})"
    return f"back-off {text(wait_s)} restarting failed {place}"


def text(wait_s: float) -> str:
    """Seconds as kubelets write them: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(wait_s), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def after_refusal(refused: Refused, image: str, row: int) -> Iterator[tuple[str, str, float | None]]:
    """Reason, message and seconds of each state until the next try; None: until something changes.

    Args:
        refused: why it did not start.
        image: as the pod writes it.
        row: how often it did not in a row, this time included.
    """
    said = str(refused)
    match refused.reason:
        case "InvalidImageName":
            yield refused.reason, said, None
        case "ErrImagePull":
            yield refused.reason, said, _SHOWN_S
            wait_s = seconds(row)
            words = f'Back-off pulling image "{image}": {said}'
            yield "ImagePullBackOff", words, wait_s - _SHOWN_S
        case (
            "RunContainerError"
        ):  # such as a port that another container of the node holds: it is not free at once
            yield refused.reason, said, max(seconds(row - 1), 1.0)
        case _:
            yield refused.reason, said, _SYNC_S
