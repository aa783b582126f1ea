"""A node without images: stand-ins play everything. It is what `running.Runtime` asks for, and runs nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from netloom.errors import InvalidObject, NotFound
from netloom.local.runner.images import standin_image_id
from netloom.local.runner.running import ContainerSpec, Found, PullPolicy, Refused, Running
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.standins.feed import LogLine, ReadLog


class WithoutImages:
    """No image is there."""

    def is_present(self, image: str) -> bool:
        """None is."""
        return False

    async def find(self, image: str, pull: PullPolicy, *, standin: bool = True) -> Found | None:
        """A stand-in, where one may take the image's place.

        Raises:
            Refused: it may not, or the name is no image's.
        """
        try:
            standin_image_id(image, subject=f"image {image!r}")
        except InvalidObject as error:
            raise Refused("InvalidImageName", str(error)) from error
        if pull is PullPolicy.NEVER:
            raise Refused(
                "ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never'
            )
        if not standin:
            raise Refused("ErrImagePull", f'failed to pull image "{image}": this node has no images')
        return None

    async def start(self, spec: ContainerSpec, sandbox: Sandbox) -> Running:
        """Nothing is ever found, and so nothing started.

        Raises:
            Refused: always.
        """
        raise Refused("CreateContainerError", f"image {spec.image} is not here")

    async def adopt(self, pod_uid: str) -> Mapping[str, Running]:
        """Nothing runs."""
        return {}

    async def read_log(self, wish: ReadLog) -> AsyncGenerator[tuple[LogLine, ...], None]:
        """There is none.

        Raises:
            NotFound: always.
        """
        nothing: tuple[tuple[LogLine, ...], ...] = ()
        for piece in nothing:
            yield piece
        raise NotFound(f"container {wish.container} has no log")

    async def forget(self, pod_uid: str) -> None:
        """Nothing is left."""
