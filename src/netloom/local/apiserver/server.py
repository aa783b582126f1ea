"""The API server as a whole: HTTP in front of a store.

Comes in: bound sockets and what the server depends on. Goes out: answers, until cancelled. Here is the one place where
errors become HTTP. Not here: what the verbs do (rest.py), certificates (the TLS contexts come with the listeners).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from aiohttp import web

from netloom.clock import Clock
from netloom.errors import NetloomError, StorageError
from netloom.local.apiserver import (
    bodies,
    bootstrap,
    discovery,
    forward,
    negotiate,
    openapi,
    openapi_protobuf,
    status,
)
from netloom.local.apiserver.access import reconcile
from netloom.local.apiserver.access.front import JWKS_PATH, Front, Trust, alone
from netloom.local.apiserver.admission.chain import Admission
from netloom.local.apiserver.allocate import NODE_PORTS, ServiceAddresses
from netloom.local.apiserver.bootstrap import Advertised
from netloom.local.apiserver.custom.controller import Definitions
from netloom.local.apiserver.deletion import Deletions
from netloom.local.apiserver.discovery import Served
from netloom.local.apiserver.forward import Forwarding
from netloom.local.apiserver.gc import Collector
from netloom.local.apiserver.kinds import PODS
from netloom.local.apiserver.measures import Measures
from netloom.local.apiserver.objects import Objects, random_suffix
from netloom.local.apiserver.proxy import Proxy
from netloom.local.apiserver.registry import Registry
from netloom.local.apiserver.rest import USER, Rest, Target, answer, read, target_of
from netloom.local.apiserver.service_ranges import ServiceRanges
from netloom.local.apiserver.status import ApiError
from netloom.local.apiserver.store import Store
from netloom.local.apiserver.watches import Hub
from netloom.local.apiserver.watchstream import BOOKMARK_S, Watches
from netloom.metrics import CONTENT_TYPE, render
from netloom.units import Cidr

_LOG = logging.getLogger(__name__)
_SHUTDOWN_S = 2.0
_REVIEWS = {(r.group, r.name): r for r in discovery.REVIEWS}


class Listener(NamedTuple):
    """A bound socket, and TLS for it; a unix socket has none and needs none."""

    socket: socket.socket
    context: ssl.SSLContext | None = None


class ApiServer:
    """The Kubernetes API over one store.

    Args:
        store: where objects are; the caller closes it after `serve` has ended.
        clock: for timestamps and timeouts.
        service_cidrs: ranges of ClusterIPs, the default family first.
        node_ports: first and last port of NodePort Services.
        runner_socket: the unix socket of a node's runner (logs, exec ...), or None where there is no such node.
        trust: whom it knows; None: the administrator on unix sockets, members of the authority's certificates, and its own tokens.
        advertised: where the ``kubernetes`` Service leads; None makes no such Service.
        bookmark_s: seconds between bookmarks of watches.
        toleration_s: for how long pods that say nothing else stay on nodes that are not ready or not heard; None: it is not said for them.
    """

    def __init__(  # noqa: PLR0913 - the dependencies of a whole server
        self,
        *,
        store: Store,
        clock: Clock,
        service_cidrs: Sequence[Cidr],
        runner_socket: Callable[[str], Path | None],
        node_ports: tuple[int, int] = NODE_PORTS,
        trust: Trust | None = None,
        advertised: Advertised | None = None,
        bookmark_s: float = BOOKMARK_S,
        toleration_s: int | None = None,
    ) -> None:
        self.started = asyncio.Event()
        """Set once requests are accepted."""
        services = ServiceAddresses(store=store, cidrs=service_cidrs, node_ports=node_ports)
        trust = trust or alone()
        self._front = Front(store=store, clock=clock, trust=trust)
        self._objects = Objects(
            store=store,
            clock=clock,
            services=services,
            admission=Admission(
                store=store,
                authorizer=self._front.authorizer,
                ca=trust.ca,
                new_suffix=random_suffix,
                toleration_s=toleration_s,
            ),
        )
        deletions = Deletions(self._objects)
        self._collector = Collector(objects=self._objects, deletions=deletions)
        self._hub = Hub(store)
        self._proxy = Proxy(runner_socket)
        self._forwarding = Forwarding(self._objects, self._proxy)
        watches = Watches(store=store, hub=self._hub, clock=clock, bookmark_s=bookmark_s)
        self._rest = Rest(
            objects=self._objects,
            deletions=deletions,
            watches=watches,
            proxy=self._proxy,
            tokens=self._front.tokens,
            clock=clock,
        )
        self._registry = Registry()
        self._definitions = Definitions(
            objects=self._objects,
            deletions=deletions,
            registry=self._registry,
            hub=self._hub,
            collector=self._collector,
        )
        self._measures = Measures(registry=self._registry, store=store, hub=self._hub, clock=clock)
        self._service_ranges = ServiceRanges(objects=self._objects, services=services, cidrs=service_cidrs)
        self._cidrs = tuple(service_cidrs)
        self._advertised = advertised

    def app(self) -> web.Application:
        """The HTTP application: one handler, which reads paths itself."""
        app = web.Application(client_max_size=bodies.LIMIT)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def serve(self, listeners: Sequence[Listener]) -> None:
        """Serve until cancelled; then end all watches and streams and close the sockets.

        Raises:
            StorageError: the store cannot be written at the start.
        """
        bootstrap.ensure(self._objects, cidrs=self._cidrs, advertised=self._advertised)
        reconcile.ensure(self._objects)
        runner = web.AppRunner(
            self.app(),
            handle_signals=False,
            access_log=None,
            handler_cancellation=True,  # a watch whose client is gone must not wait for the next event to notice
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        try:
            for listener in listeners:
                await web.SockSite(runner, listener.socket, ssl_context=listener.context, backlog=512).start()
            self.started.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._collector.run(), name="collector")
                group.create_task(self._service_ranges.run(), name="service ranges")
                group.create_task(self._definitions.run(), name="definitions")
        finally:
            self._hub.close()
            self._proxy.close()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """The boundary: whatever goes wrong below becomes a Status here."""
        began, code = self._measures.begin(), 499
        try:
            response = await self._route(request)
            code = response.status
        except ConnectionError:
            raise  # the client is gone; there is nobody to tell
        except Exception as error:  # noqa: BLE001 - the request boundary: one bad request must not end the server
            refused = _translated(request, error)
            code = refused.code
            return _refusal(refused)
        else:
            return response
        finally:
            self._measures.end(request, code, began)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        parts = [unquote(part) for part in path.strip("/").split("/")]
        identity = self._front.admit(request, path, parts)
        request[USER] = identity
        if parts == ["metrics"] and request.method == "GET":
            page = render(self._measures.samples()).encode()
            return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})
        if (proxied := forward.read_path(path, parts)) is not None:
            return await self._forwarding.serve(request, proxied)
        if (request.content_length or 0) > bodies.LIMIT:
            raise status.too_big(bodies.LIMIT)
        match parts:
            case ["api", version, *rest] if rest:
                api_version = version
            case ["apis", group, version, *rest] if rest:
                api_version = f"{group}/{version}"
                review = _REVIEWS.get((group, rest[-1]))
                if review is not None and version == "v1":
                    return await self._review(request, review, rest[:-1])
            case _:
                return self._published(path) or _fixed(request, parts, self._registry.all)
        if api_version == "v1" and rest[0] == "namespaces" and rest[2:] == ["bindings"]:
            if request.method != "POST":
                raise status.method_not_allowed()
            return await self._rest.bind(request, Target(PODS, rest[1]))
        return await self._rest.handle(request, target_of(self._registry, api_version, rest))

    async def _review(self, request: web.Request, review: discovery.Review, place: list[str]) -> web.Response:
        match place:
            case [] if not review.namespaced:
                namespace = ""
            case ["namespaces", namespace] if review.namespaced:
                pass
            case _:
                raise status.unknown_path()
        if request.method != "POST":
            raise status.method_not_allowed()
        body = await read(request)
        if not isinstance(body, dict):
            raise status.bad_request(f"the body of the request must be an object of kind {review.kind}")
        answered = self._front.reviews.answer(review.kind, body, request[USER], namespace)
        return answer(msgspec.json.encode(answered), code=201)

    def _published(self, path: str) -> web.Response | None:
        document = self._front.published(path)
        if document is None:
            return None
        media_type = "application/jwk-set+json" if path == JWKS_PATH else "application/json"
        return answer(msgspec.json.encode(document), media_type=media_type)


def _translated(request: web.Request, error: Exception) -> ApiError:
    """What went wrong, in the API's words. What nobody foresaw is logged whole and told in short."""
    match error:
        case ApiError():
            return error
        case web.HTTPRequestEntityTooLarge():
            return status.too_big(bodies.LIMIT)
        case RecursionError():
            return status.bad_request("the body of the request is nested too deeply")
        case StorageError():
            _LOG.error("%s %s: %s", request.method, request.path, error)
            return status.no_storage(str(error))
        case NetloomError():
            return status.bad_request(str(error))
        case _:
            _LOG.error("%s %s", request.method, request.path, exc_info=error)
            return status.internal("an error in the server itself; its log has the details")


def _refusal(error: ApiError) -> web.Response:
    response = answer(error.render(), code=error.code)
    if "retryAfterSeconds" in error.details:
        response.headers["Retry-After"] = str(error.details["retryAfterSeconds"])
    return response


def _fixed(  # noqa: PLR0911 - one for each path
    request: web.Request, parts: list[str], served: Served
) -> web.Response:
    """Paths that are not resources: discovery, schemas, health."""
    if request.method not in {"GET", "HEAD"}:
        raise status.method_not_allowed()
    match parts:
        case [("healthz" | "livez" | "readyz"), *_]:
            return web.Response(text="ok")
        case ["version"]:
            return _page(request, discovery.version())
        case ["openapi", "v2"]:
            return _swagger(request.headers.get("Accept", ""), served)
        case ["openapi", "v3"]:
            return answer(openapi.v3_index(served))
        case ["openapi", "v3", *rest]:
            return _schema(rest, served)
        case [""]:
            return answer(msgspec.json.encode({"paths": _paths(served)}))
        case _:
            return _discovery(request, parts, served)


def _swagger(accept: str, served: Served) -> web.Response:
    if any(name in accept for name in (openapi_protobuf.ASKED, openapi_protobuf.MEDIA_TYPE)):
        return answer(openapi_protobuf.v2_document(served), media_type=openapi_protobuf.MEDIA_TYPE)
    negotiate.view(accept)
    return answer(openapi.v2_document(served))


def _discovery(request: web.Request, parts: list[str], served: Served) -> web.Response:
    view = negotiate.view(request.headers.get("Accept", ""))
    match parts:
        case [("api" | "apis") as root]:
            if view.shape == "aggregated":
                return _page(request, discovery.aggregated(root, view.version, served))
            return _page(request, discovery.core_versions() if root == "api" else discovery.groups(served))
        case ["apis", group]:
            page = discovery.group(group, served)
        case ["api", version]:
            page = discovery.resources(version, served)
        case ["apis", group, version]:
            page = discovery.resources(f"{group}/{version}", served)
        case _:
            page = None
    if page is None:
        raise status.unknown_path()
    return _page(request, page)


def _schema(parts: list[str], served: Served) -> web.Response:
    match parts:
        case ["api", version]:
            group_version = version
        case ["apis", group, version]:
            group_version = f"{group}/{version}"
        case _:
            raise status.unknown_path()
    if discovery.resources(group_version, served) is None:
        raise status.unknown_path()
    return answer(openapi.v3_group(group_version, served))


def _page(request: web.Request, page: discovery.Page) -> web.Response:
    if request.headers.get("If-None-Match") == page.etag:
        return web.Response(status=304, headers={"ETag": page.etag})
    response = answer(page.body, media_type=page.media_type)
    response.headers["ETag"] = page.etag
    response.headers["Vary"] = "Accept"
    return response


def _paths(served: Served) -> list[str]:
    found = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    groups = msgspec.json.decode(discovery.groups(served).body)["groups"]
    for group in groups:
        found += [f"/apis/{group['name']}"]
        found += [f"/apis/{version['groupVersion']}" for version in group["versions"]]
    return sorted(found)
