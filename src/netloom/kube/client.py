"""Requests to the Kubernetes API, over TLS or a unix socket. In: resources, keys, bodies; out: objects or our errors.

Bodies are plain dicts: what a client sends must not lose fields. Typed reading is done by watch.py, from the bytes.
Not here: retries (the caller knows whether repeating is right) and caching.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec

from netloom.clock import Clock, SystemClock
from netloom.errors import InvalidObject, Unavailable
from netloom.kube.impatience import impatient_socket
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import Resource
from netloom.kube.status import to_error
from netloom.kube.tls import OneFirst, client_context
from netloom.units import ObjectKey

PAGE = 2000
"""Objects asked for at once: 10,000 objects come in a few answers, and none is so large that it blocks the loop."""
_REQUEST_S = 30.0
_CONNECT_S = 15.0
"""For TCP and TLS: where 50 nodes start at once on two cores, giving up early and beginning anew is what overloads the server."""
_TOKEN_REREAD_S = 60.0
_CONNECTIONS = 256
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode


Objects = list[dict[str, Any]]
Lines = list[bytes]


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _DictList(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: Objects | None = None


_decode_list = msgspec.json.Decoder(_DictList).decode


class KubeClient:
    """A client for one API server; an async context manager.

    Raises (every method): errors.NotFound, AlreadyExists, InvalidObject (with the field), Unavailable, Unsupported;
    kube.status.Conflict, Expired, Denied.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        user_agent: str = "netloom",
        clock: Clock | None = None,
        connections: int = _CONNECTIONS,
    ) -> None:
        self.config = config
        self._user_agent = user_agent
        self._clock = clock or SystemClock()
        self._connections = connections
        """At the same time at most; 0: any number."""
        self._session: aiohttp.ClientSession | None = None
        self._first = OneFirst()
        self._token = config.token
        self._token_read = float("-inf")
        self._base = config.server.rstrip("/") if not config.unix_socket else "http://localhost"

    async def __aenter__(self) -> Self:
        if self.config.unix_socket:
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(
                self.config.unix_socket, limit=self._connections
            )
        else:
            connector = aiohttp.TCPConnector(
                ssl=client_context(self.config),
                limit=self._connections,
                ttl_dns_cache=10,
                socket_factory=impatient_socket,
            )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._user_agent, "Accept": _JSON},
            # Compression costs more than the bytes do on a node's own network.
            skip_auto_headers=("Accept-Encoding",),
            timeout=aiohttp.ClientTimeout(total=_REQUEST_S, sock_connect=_CONNECT_S),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, resource: Resource, key: ObjectKey) -> dict[str, Any]:
        """One object."""
        return _object(
            await self.raw(
                "GET", resource.path(key.namespace, key.name), subject=f"get {resource.kind} {key}"
            )
        )

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Objects, str]:
        """All objects (of a namespace, or of all), and the resourceVersion to watch from."""
        items: Objects = []
        version = ""
        async for body in self.list_pages(
            resource, namespace, label_selector=label_selector, field_selector=field_selector
        ):
            page = _decode_list(body)
            items += page.items or ()
            version = page.metadata.resource_version
        return items, version

    async def list_pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
    ) -> AsyncIterator[bytes]:
        """The list's pages as the bytes that came, for whoever decodes them into a type of their own.

        Raises:
            Expired: the list changed too much between two pages; start again.
        """
        params = {"limit": str(page)} | _selectors(label_selector, field_selector)
        while True:
            body = await self.raw(
                "GET", resource.path(namespace), params=params, subject=f"list {resource.plural}"
            )
            yield body
            token = msgspec.json.decode(body, type=_MetaOnly).metadata.continue_
            if not token:
                return
            params = params | {"continue": token}

    async def create(
        self, resource: Resource, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        """POST an object, or a subresource of the object that it names (``pods/binding``)."""
        key = self._key_of(resource, body, need_name=bool(subresource))
        path = resource.path(key.namespace, key.name if subresource else "", subresource)
        return _object(
            await self.raw(
                "POST", path, body=_encode(body), subject=f"create {resource.kind} {_said(key, body)}"
            )
        )

    async def update(
        self, resource: Resource, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        """PUT an object; a ``metadata.resourceVersion`` in it makes a lost update a Conflict."""
        key = self._key_of(resource, body, need_name=True)
        return _object(
            await self.raw(
                "PUT",
                resource.path(key.namespace, key.name, subresource),
                body=_encode(body),
                subject=f"update {resource.kind} {key}",
            )
        )

    async def patch(
        self,
        resource: Resource,
        key: ObjectKey,
        body: object,
        *,
        content_type: str = "application/merge-patch+json",
        subresource: str = "",
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """PATCH an object; ``content_type`` says which kind of patch the body is."""
        return _object(
            await self.raw(
                "PATCH",
                resource.path(key.namespace, key.name, subresource),
                body=_encode(body),
                content_type=content_type,
                params=params,
                subject=f"patch {resource.kind} {key}",
            )
        )

    async def apply(
        self, resource: Resource, body: Mapping[str, Any], *, field_manager: str, force: bool = False
    ) -> dict[str, Any]:
        """Server-side apply: creates the object, or owns the fields that the body has."""
        key = self._key_of(resource, body, need_name=True)
        params = {"fieldManager": field_manager} | ({"force": "true"} if force else {})
        return await self.patch(
            resource, key, body, content_type="application/apply-patch+yaml", params=params
        )

    async def delete(
        self,
        resource: Resource,
        key: ObjectKey,
        *,
        grace_s: int | None = None,
        propagation: str = "Background",
        preconditions_uid: str = "",
    ) -> None:
        """DELETE an object; ``preconditions_uid`` guards against deleting a namesake (Conflict)."""
        options: dict[str, Any] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": propagation,
        }
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if preconditions_uid:
            options["preconditions"] = {"uid": preconditions_uid}
        await self.raw(
            "DELETE",
            resource.path(key.namespace, key.name),
            body=_encode(options),
            subject=f"delete {resource.kind} {key}",
        )

    async def watch_chunks(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        version: str,
        timeout_s: int,
        params: Mapping[str, str],
    ) -> AsyncIterator[Lines]:
        """Watch from a resourceVersion: the complete lines of each piece that arrives, at once.

        Ends when the server ends it (after ``timeout_s``). Lines may be of any length.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_s),
        } | dict(params)
        subject = f"watch {resource.plural}"
        # The server ends the watch in time; silence beyond that means that the connection is dead.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=timeout_s + 30)
        session = self._opened()
        try:
            async with session.get(
                self._base + resource.path(namespace),
                params=query,
                headers=self._headers(),
                timeout=timeout,
                server_hostname=self.config.server_name or None,
            ) as response:
                if response.status != 200:
                    raise to_error(response.status, await response.read(), subject)
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    if lines:
                        yield lines
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(subject, error) from error

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = _JSON,
        params: Mapping[str, str] | None = None,
        subject: str = "",
    ) -> bytes:
        """Any request; the answer's bytes. ``subject`` names it in errors."""
        session = self._opened()
        subject = subject or f"{method} {path}"
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with (
                self._first.turn(),
                session.request(
                    method,
                    self._base + path,
                    data=body,
                    params=params,
                    headers=headers,
                    server_hostname=self.config.server_name or None,
                ) as response,
            ):
                answer = await response.read()
                if response.status >= 300:
                    raise to_error(response.status, answer, subject)
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(subject, error) from error

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, params: Sequence[tuple[str, str]], protocol: str, subject: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to a streaming subresource; closed with the block."""
        session = self._opened()
        try:
            async with session.ws_connect(
                self._base + path,
                params=list(params),
                protocols=(protocol,),
                headers=self._headers(),
                server_hostname=self.config.server_name or None,
                max_msg_size=0,
            ) as socket:
                yield socket
        except aiohttp.WSServerHandshakeError as error:
            raise to_error(error.status, b"", subject) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(subject, error) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise Unavailable(f"API client for {self._where}: is not open", "use it inside `async with`")
        return self._session

    def _key_of(self, resource: Resource, body: Mapping[str, Any], *, need_name: bool) -> ObjectKey:
        metadata = body.get("metadata") or {}
        name = metadata.get("name") or ""
        if need_name and not name:
            raise InvalidObject(resource.kind, "metadata.name", "is not set", "name the object")
        namespace = (metadata.get("namespace") or self.config.namespace) if resource.namespaced else ""
        return ObjectKey(namespace, name)

    def _headers(self) -> dict[str, str]:
        if self.config.token_file:
            now = self._clock.monotonic()
            if now - self._token_read > _TOKEN_REREAD_S:
                self._token = _read_token(self.config.token_file)
                self._token_read = now
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _away(self, subject: str, error: Exception) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(
            f"{subject}: {self._where} does not answer: {reason}",
            "look whether the API server runs, and try again",
        )

    @property
    def _where(self) -> str:
        return self.config.unix_socket or self.config.server


class _MetaOnly(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


def _object(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])


def _said(key: ObjectKey, body: Mapping[str, Any]) -> str:
    """How an error names an object that may have no name yet."""
    if key.name:
        return str(key)
    return f"{key.namespace}/{(body.get('metadata') or {}).get('generateName', '')}*"


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    pairs = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {k: v for k, v in pairs.items() if v}


def _read_token(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise Unavailable(
            f"token file {path}: {error.strerror}", "look at the service account's mount"
        ) from error
