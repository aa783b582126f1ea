"""Other CNI plugins, called as a runtime calls them: a whole list, one plugin after the other, each with the one before's result.

In: a network, what is wished for, and the pod's namespace. Out: the last plugin's result, or :class:`DelegateFailed` with the
plugin's own number and words. A plugin is an executable in one of the plugin directories, or one of ours that runs in this process
(``inline``). Its time and its output are bounded. Rules of the CNI specification 1.1.0, sections 2 to 4. Not here: what is called for
which pod, and the record of it (``networks``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.store import Attachment
from netloom.cni.networks import results
from netloom.cni.networks.configuration import Config, NetworkList, Requested, plugin_input
from netloom.cni.networks.results import Result
from netloom.errors import NetloomError, NotFound, Unavailable
from netloom.linux import process
from netloom.linux.netns import Namespaces

_MAX_OUTPUT = 1024 * 1024
"""Bytes of a plugin's answer that are read; a result has a few thousand."""
_MAX_WORDS = 500


class DelegateFailed(CniError):
    """A plugin that we called failed. ``code`` is its own number, ``said`` its own words."""

    def __init__(self, plugin: str, command: str, code: int, said: str, details: str = "") -> None:
        self.plugin = plugin
        self.said = said
        super().__init__(code, f"plugin {plugin}: {command}: {said} (code {code})", details)


class Call(msgspec.Struct, frozen=True):
    """One interface of one pod in one network.

    ``arguments`` is CNI_ARGS: ``NAME=value`` pairs with semicolons between them.
    """

    network: NetworkList
    attachment: Attachment
    requested: Requested = Requested()
    arguments: str = ""


class PodNetns(msgspec.Struct, frozen=True):
    """A pod's network namespace: a path that plugins open, and a descriptor of ours. Neither where it is gone."""

    path: str = ""
    fd: int | None = None

    @classmethod
    def of(cls, path: str, fd: int | None) -> PodNetns:
        """The path as the runtime wrote it where that means the same namespace to us; else one through our descriptor."""
        if fd is None:
            return cls()
        try:
            if path and os.path.samestat(os.stat(path), os.fstat(fd)):
                return cls(path, fd)
        except OSError:
            pass  # the runtime's file system is not ours
        return cls(f"/proc/{os.getpid()}/fd/{fd}", fd)


class InlinePlugin(Protocol):
    """A plugin that runs in this process."""

    async def call(self, command: str, call: Call, config: Config, netns: PodNetns) -> Result:
        """Do ADD, DEL or CHECK; the result of ADD in the version of ``config``, empty for the others.

        Raises:
            NetloomError: it could not be done.
        """


class Delegates:
    """The plugins of a node.

    Args:
        plugin_dirs: where executables are looked for, in this order (CNI_PATH).
        environment: variables that plugins get besides those of CNI.
        timeout_s: how long one plugin may take.
        inline: plugins of ours, by type.
        ns: namespaces to start plugins in; None: our own.
    """

    def __init__(
        self,
        *,
        plugin_dirs: Sequence[str],
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 45.0,
        inline: Mapping[str, InlinePlugin] | None = None,
        ns: Namespaces | None = None,
    ) -> None:
        self._dirs = tuple(plugin_dirs)
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), **(environment or {})}
        self._timeout_s = timeout_s
        self._inline = dict(inline or {})
        self._ns = ns

    async def add(self, call: Call, netns: PodNetns, *, guard_fd: int | None = None) -> Result:
        """ADD of the whole list; the result in the network's version.

        Args:
            call: what to attach.
            netns: the pod's namespace.
            guard_fd: a descriptor that plugins inherit, so that it stays open as long as one of them lives.

        Raises:
            DelegateFailed: one of the plugins did; what those before it did stays, until :meth:`delete`.
        """
        previous: Result | None = None
        for number in range(len(call.network.plugins)):
            previous = await self._one("ADD", call, number, netns, previous, guard_fd)
        return previous or {}

    async def check(self, call: Call, netns: PodNetns, result: Result) -> None:
        """CHECK of the whole list; nothing where the network's version has none, or it is turned off.

        Raises:
            DelegateFailed: something is not as it should be, or a plugin failed.
        """
        if not call.network.has("0.4.0") or call.network.disable_check:
            return
        for number in range(len(call.network.plugins)):
            await self._one("CHECK", call, number, netns, result, None)

    async def delete(
        self, call: Call, netns: PodNetns, result: Result | None, *, guard_fd: int | None = None
    ) -> None:
        """DEL of the whole list, last plugin first. All are called, whichever fail.

        Raises:
            DelegateFailed: the first failure; something may be left.
        """
        failed: NetloomError | None = None
        previous = result if call.network.has("0.4.0") else None
        for number in reversed(range(len(call.network.plugins))):
            try:
                await self._one("DEL", call, number, netns, previous, guard_fd)
            except NetloomError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    async def _one(
        self,
        command: str,
        call: Call,
        number: int,
        netns: PodNetns,
        previous: Result | None,
        guard_fd: int | None,
    ) -> Result:
        config = plugin_input(call.network, number, call.requested, previous)
        kind: str = config["type"]
        own = self._inline.get(kind)
        if own is not None:
            return await own.call(command, call, config, netns)
        out = await self._run(kind, command, self._variables(command, call, netns), config, guard_fd)
        if command != "ADD":
            return {}
        answered = _object(out)
        if answered is None:
            raise DelegateFailed(kind, command, Code.CANNOT_DECODE, f"its answer is no result: {_words(out)}")
        answered = {"cniVersion": call.network.version, **answered}
        try:
            results.read(answered, plugin=kind)
        except CniError as error:
            said = error.problem.removeprefix(f"plugin {kind}: ")
            raise DelegateFailed(kind, command, error.code, said, error.hint) from error
        return results.convert(answered, call.network.version)

    async def _run(
        self, kind: str, command: str, variables: Mapping[str, str], config: Config, guard_fd: int | None
    ) -> bytes:
        try:
            done = await process.run(
                [self._find(kind)],
                input=msgspec.json.encode(config),
                env={**self._environment, **variables},
                timeout_s=self._timeout_s,
                ns=self._ns,
                pass_fds=() if guard_fd is None else (guard_fd,),
            )
        except Unavailable as error:
            raise DelegateFailed(kind, command, Code.TRY_AGAIN_LATER, error.problem, error.hint) from error
        except NotFound as error:
            raise DelegateFailed(kind, command, Code.INVALID_CONFIG, error.problem, error.hint) from error
        if len(done.stdout) > _MAX_OUTPUT:
            raise DelegateFailed(
                kind, command, Code.CANNOT_DECODE, f"it wrote {len(done.stdout)} bytes", "more than we read"
            )
        if done.returncode == 0:
            return done.stdout
        raise _failure(kind, command, done)

    def _find(self, kind: str) -> str:
        for directory in self._dirs:
            path = Path(directory, kind)
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise NotFound(
            f"there is no executable {kind} in {', '.join(self._dirs)}",
            "install the plugin on this node, or correct `type`",
        )

    def _variables(self, command: str, call: Call, netns: PodNetns) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": call.attachment.container,
            "CNI_NETNS": netns.path,
            "CNI_IFNAME": call.attachment.interface,
            "CNI_ARGS": call.arguments,
            "CNI_PATH": ":".join(self._dirs),
        }


def _failure(kind: str, command: str, done: process.Completed) -> DelegateFailed:
    """What a plugin says of its failure: an error as JSON on standard output, or whatever it wrote."""
    body = _object(done.stdout)
    code = body.get("code") if body else None
    if body and isinstance(code, int) and not isinstance(code, bool):
        said, details = str(body.get("msg") or "no reason given"), str(body.get("details") or "")
        return DelegateFailed(kind, command, code, said[:_MAX_WORDS], details[:_MAX_WORDS])
    how = (
        f"it was ended by signal {-done.returncode}"
        if done.returncode < 0
        else f"it ended with {done.returncode}"
    )
    return DelegateFailed(kind, command, Code.INTERNAL, how, _words(done.stderr or done.stdout))


def _object(out: bytes) -> dict[str, Any] | None:
    try:
        body = msgspec.json.decode(out)
    except (msgspec.DecodeError, UnicodeError):
        return None
    return body if isinstance(body, dict) else None


def _words(out: bytes) -> str:
    return out[: 4 * _MAX_WORDS].decode("utf-8", "replace").strip()[:_MAX_WORDS]
