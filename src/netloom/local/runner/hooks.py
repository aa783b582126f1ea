"""A container's lifecycle hooks (core/v1 Lifecycle). In: a hook, the pod's address; out: done, or an event that says it failed.

As a kubelet does it: ``httpGet`` goes from the node to the pod's address (or to ``host``), and any answer counts as success,
whatever its status; ``exec`` runs inside the pod; ``tcpSocket`` never was supported, and fails. Events do not say why: what
was asked may hold secrets. In a stand-in a program that this host does not have counts as success (the image would have had
it). Not here: when hooks run (``container``).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from netloom.errors import NetloomError, NotFound
from netloom.local.runner.checks import (
    HEAD_LIMIT,
    NO_SUCH_PROGRAM,
    RunInPod,
    place_text,
    request_head,
    unverified,
)
from netloom.local.runner.grace import Grace
from netloom.local.runner.spec import Container, Hook, HttpGet, port_number

log = logging.getLogger(__name__)

_EXEC_S = 86400.0
"""A kubelet gives a hook no time of its own: the grace period ends it."""


class HookFailed(NetloomError):
    """A hook did not do what it should."""


class Hooks:
    """The hooks of one container of one pod.

    Args:
        container: whose hooks they are.
        address: of the pod.
        run: runs a command inside the pod.
        on_failure: hears reason and message of an event.
        is_standin: whether a stand-in plays the container now.
    """

    def __init__(
        self,
        *,
        container: Container,
        address: str,
        run: RunInPod,
        on_failure: Callable[[str, str], None],
        is_standin: Callable[[], bool] = lambda: True,
    ) -> None:
        self._container = container
        self._address = address
        self._run = run
        self._on_failure = on_failure
        self._is_standin = is_standin

    @property
    def has_pre_stop(self) -> bool:
        """Something is to be done before the container ends."""
        return self._container.lifecycle.pre_stop is not None

    async def post_start(self) -> bool:
        """Run ``lifecycle.postStart``; False where it failed, and the container with it."""
        hook = self._container.lifecycle.post_start
        return hook is None or await self._attempt(hook, "PostStart")

    async def pre_stop(self, grace: Grace) -> None:
        """Run ``lifecycle.preStop``, no longer than the grace period; whether it succeeds changes nothing."""
        hook = self._container.lifecycle.pre_stop
        if hook is not None and not grace.is_over:
            await grace.wait(self._attempt(hook, "PreStop"))

    async def _attempt(self, hook: Hook, kind: str) -> bool:
        try:
            await self._do(hook)
        except NetloomError as error:
            log.warning("%s hook of container %s: %s", kind, self._container.name, error)
            self._on_failure(f"Failed{kind}Hook", f"{kind}Hook failed")
            return False
        return True

    async def _do(self, hook: Hook) -> None:
        if hook.exec is not None:
            await self._execute(hook.exec.command)
        elif hook.http_get is not None:
            await self._get(hook.http_get)
        elif hook.sleep is not None:
            await asyncio.sleep(hook.sleep.seconds)
        else:
            raise HookFailed("no handler that hooks can have", "use exec, httpGet or sleep")

    async def _execute(self, command: tuple[str, ...]) -> None:
        try:
            done = await self._run(command, _EXEC_S)
        except NotFound as error:
            if not self._is_standin():
                raise HookFailed(
                    f"{command[0]}: not found in the container", "use a program of the image"
                ) from error
            log.info("%s is not on this host; the hook counts as done", command[0])
            return
        if done.returncode == NO_SUCH_PROGRAM and self._is_standin():
            log.info("%s found no such program on this host; the hook counts as done", command[0])
        elif done.returncode != 0:
            raise HookFailed(f"the command exited with {done.returncode}", "run it with: kubectl exec")

    async def _get(self, get: HttpGet) -> None:
        port = port_number(get.port, self._container)
        if port is None:
            raise HookFailed(
                f"httpGet.port: the container declares no port named {get.port}", "name it in ports"
            )
        host = get.host or self._address
        if get.scheme.upper() == "HTTPS":
            try:
                await self._ask(get, host, port, unverified())
            except ssl.SSLError:
                log.info("the server at %s:%d speaks HTTP, not HTTPS; asked again without", host, port)
            else:
                return
        await self._ask(get, host, port, None)

    async def _ask(self, get: HttpGet, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Send the request and wait until an answer begins.

        Raises:
            HookFailed: there is none.
            ssl.SSLError: no TLS is spoken there.
        """
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT, ssl=tls)
        except ssl.SSLError:
            raise
        except OSError as error:
            raise HookFailed(
                f"dial tcp {place_text(host, port)}: {error.strerror or error}", "is somebody listening?"
            ) from error
        try:
            writer.write(request_head(get, host, port, agent="kube-lifecycle/netloom"))
            line = await reader.readline()
        except (OSError, ValueError) as error:
            raise HookFailed(f"GET at {place_text(host, port)}: {error}", "is it an HTTP server?") from error
        finally:
            writer.transport.abort()  # all is known, and the polite end of TLS may take half a minute
        if not line.startswith(b"HTTP/"):
            raise HookFailed(f"GET at {place_text(host, port)}: no HTTP answer", "is it an HTTP server?")
