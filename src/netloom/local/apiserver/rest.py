"""Requests to resources: which object, which verb, and the answer. One method for each verb.

Comes in: an HTTP request whose sender may ask, and the resource that its path names. Goes out: an answer, or an ApiError.
Not here: paths that are no resources and the translation of errors (server.py), what the verbs do (objects.py, deletion.py).
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from netloom.api.nulls import without_nulls
from netloom.clock import Clock
from netloom.local.apiserver import bodies, doubled, kinds, negotiate, patching, queries, status, subresources
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.access.token_requests import TokenRequests
from netloom.local.apiserver.custom import scaling, versions
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.deletion import Deleted, Deletions
from netloom.local.apiserver.eviction import evict
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.objects import Objects, Written
from netloom.local.apiserver.proxy import STREAMS, Proxy
from netloom.local.apiserver.queries import DeleteOptions, ListOptions, WriteOptions
from netloom.local.apiserver.registry import Registry
from netloom.local.apiserver.status import ApiError
from netloom.local.apiserver.tables import Renderer, include_object
from netloom.local.apiserver.watchstream import Watches

_JSON = "application/json"
USER = web.RequestKey("user", Identity)
"""Where a request carries who asks."""
_WITHOUT_STORE_VERBS = {
    "binding": "POST",
    "eviction": "POST",
    "scale": "GET PUT PATCH",
    "finalize": "PUT",
    "token": "POST",
}
_RETURNS_OBJECT = (kinds.PODS, kinds.SERVICES, kinds.NAMESPACES)
"""Kinds whose complete deletion answers with the object; the others answer with a Status."""


class Target(msgspec.Struct, frozen=True):
    """What a path names: a collection, an object, or a part of one."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def target_of(registry: Registry, api_version: str, parts: list[str]) -> Target:
    """The resource that a path under a group and version names.

    Raises:
        ApiError: 404, there is none.
    """
    namespace = ""
    if len(parts) >= 3 and parts[0] == "namespaces" and parts[2] not in {"finalize", "status"}:
        namespace, parts = parts[1], parts[2:]
    kind = registry.at(api_version, parts[0])
    if kind is None or len(parts) > 3 or not all(parts) or bool(namespace) > kind.namespaced:
        raise status.unknown_path()
    target = Target(kind, namespace, *parts[1:])
    if target.name and kind.namespaced and not namespace:
        raise status.unknown_path()
    if target.subresource and kind.subresource(target.subresource) is None:
        raise status.unknown_path()
    return target


class Rest:
    """The verbs of the API on one store."""

    def __init__(
        self,
        *,
        objects: Objects,
        deletions: Deletions,
        watches: Watches,
        proxy: Proxy,
        tokens: TokenRequests,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._deletions = deletions
        self._watches = watches
        self._proxy = proxy
        self._tokens = tokens
        self._clock = clock
        self._store = objects.store

    async def handle(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answer a request for a resource.

        Raises:
            ApiError: any refusal.
            StorageError: the store cannot be written.
        """
        asked = request.query.get("fieldValidation", "")
        twice = doubled.told(target.kind, asked, await request.read()) if asked in doubled.ASKED else ()
        response = await self._handle(request, target)
        if isinstance(target.kind, CustomKind) and not response.prepared:
            warn(response, target.kind.version_data.warnings)
        if twice and not response.prepared:
            warn(response, twice)
        return response

    async def _handle(  # noqa: PLR0911 - one return for each verb reads best
        self, request: web.Request, target: Target
    ) -> web.StreamResponse:
        if target.subresource in STREAMS:
            if request.method not in {"GET", "POST"}:
                raise status.method_not_allowed()
            pod = self._objects.get(target.kind, target.namespace, target.name)
            return await self._proxy.serve(request, pod, target.subresource)
        if target.subresource in _WITHOUT_STORE_VERBS:
            return await self._part(request, target)
        match request.method, bool(target.name):
            case "GET", True:
                return self._get(request, target)
            case "GET", False:
                return await self._list(request, target)
            case "POST", False:
                return await self._create(request, target)
            case "PUT", True:
                return await self._update(request, target)
            case "PATCH", True:
                return await self._patch(request, target)
            case "DELETE", True if not target.subresource:
                return await self._delete(request, target)
            case "DELETE", False:
                return await self._delete_collection(request, target)
            case _:
                raise status.method_not_allowed()

    def _renderer(self, request: web.Request) -> Renderer:
        view = negotiate.view(request.headers.get("Accept", ""))
        include = include_object(request.query.get("includeObject", ""))
        return Renderer(view, include=include, clock=self._clock)

    def _get(self, request: web.Request, target: Target) -> web.Response:
        renderer = self._renderer(request)
        return answer(renderer.one(self._objects.get(target.kind, target.namespace, target.name)))

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        renderer = self._renderer(request)
        options = queries.list_options(target.kind, target.namespace, request.query)
        if options.watch:
            return await self._watches.serve(request, options, renderer)
        if options.version is not None and options.version > self._store.revision:
            raise status.too_large(options.version, self._store.revision)
        at, records, more = self._page(options)
        continue_ = queries.token(at, records[-1].key) if more else ""
        records = [versions.seen_as(target.kind, record) for record in records]
        interest = options.interest
        filtered = bool(interest.labels.requirements or interest.fields.terms)
        return answer(renderer.many(target.kind, records, at, continue_, 0 if filtered else more))

    def _page(self, options: ListOptions) -> tuple[int, list[Record], int]:
        """Revision, the objects of one page, and how many more there are (at least one means: at least one).

        Raises:
            ApiError: 410, the revision is gone; a list that goes on is told how to go on as things are now.
        """
        try:
            return self._page_at(options)
        except ApiError as error:
            if error.code == 410 and any(options.after):
                raise status.page_expired(queries.token(0, options.after)) from error
            raise

    def _page_at(self, options: ListOptions) -> tuple[int, list[Record], int]:
        interest = options.interest
        at = options.version if options.exact and options.version else self._store.revision
        found = self._store.scan(interest.kind, interest.namespace, after=options.after, at=at)
        name = interest.fields.only_name()
        if name and interest.namespace and at == self._store.revision:
            # the list that those ask for who wait for one object
            record = self._store.get(interest.kind, interest.namespace, name)
            found = iter([record] if record is not None else [])
        selected = (r for r in found if interest.covers(r))
        if not options.limit:
            return at, list(selected), 0
        page: list[Record] = []
        more = 0
        for record in selected:
            if len(page) < options.limit:
                page.append(record)
            else:
                more += 1
        return at, page, more

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        renderer = self._renderer(request)
        options = _write_options(request)
        if target.kind.namespaced and not target.namespace:
            raise status.method_not_allowed()
        document = bodies.document(target.kind, await read(request))
        bodies.check_namespace(document, target.namespace)
        written = self._objects.create(target.kind, target.namespace, document, options)
        return _written(renderer, written)

    async def _update(self, request: web.Request, target: Target) -> web.Response:
        renderer = self._renderer(request)
        options = _write_options(request)
        document = bodies.document(target.kind, await read(request))
        bodies.check_namespace(document, target.namespace)
        bodies.check_name(document, target.name)
        live = self._objects.get(target.kind, target.namespace, target.name)
        written = self._objects.update(live, document, options, subresource=target.subresource)
        return _written(renderer, written)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        renderer = self._renderer(request)
        options = _write_options(request)
        media = patching.media_for(target.kind, request.headers.get("Content-Type", ""))
        body = await request.read()
        kind, subresource = target.kind, target.subresource
        if media == patching.APPLY_PATCH:
            if not request.query.get("fieldManager"):
                cause = status.Cause(
                    "FieldValueRequired", "Required value: is required for apply patch", "fieldManager"
                )
                raise status.invalid("PatchOptions", "meta.k8s.io", "", [cause])
            document = bodies.document(kind, bodies.decode(body, media))
            if document["metadata"].get("managedFields"):
                raise status.bad_request("metadata.managedFields must be nil")
            bodies.check_namespace(document, target.namespace)
            bodies.check_name(document, target.name)
            written = self._objects.apply(
                kind, target.namespace, target.name, document, options, subresource=subresource
            )
            return _written(renderer, written)
        if options.force:
            cause = status.Cause(
                "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch", "force"
            )
            raise status.invalid("PatchOptions", "meta.k8s.io", "", [cause])
        live = self._objects.get(kind, target.namespace, target.name)
        document = bodies.document(
            kind, patching.patched(kind, live.name, live.document(), media, body, gvk=kind.gvk)
        )
        bodies.check_namespace(document, target.namespace)
        bodies.check_name(document, target.name)
        return _written(renderer, self._objects.update(live, document, options, subresource=subresource))

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        renderer = self._renderer(request)
        options = await _delete_options(request)
        live = self._objects.get(target.kind, target.namespace, target.name)
        deleted = self._deletions.delete(live, options)
        if deleted.gone and target.kind not in _RETURNS_OBJECT:
            return answer(status.success(live.kind, live.name, live.uid))
        return answer(renderer.one(deleted.record))

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        renderer = self._renderer(request)
        options = await _delete_options(request)
        asked = queries.list_options(target.kind, target.namespace, request.query)
        if target.kind.namespaced and not target.namespace:
            raise status.method_not_allowed()
        _, records, _ = self._page(asked)
        deleted: list[Deleted] = []
        for record in records:
            live = self._store.get(record.kind, record.namespace, record.name)
            if live is not None:
                deleted.append(self._deletions.delete(live, options))
        found = [versions.seen_as(target.kind, d.record) for d in deleted]
        return answer(renderer.many(target.kind, found, self._store.revision, "", 0))

    async def _part(self, request: web.Request, target: Target) -> web.Response:
        """Subresources that are documents of another kind, or have one verb."""
        if request.method not in _WITHOUT_STORE_VERBS[target.subresource].split():
            raise status.method_not_allowed()
        negotiate.view(request.headers.get("Accept", ""))
        match target.subresource:
            case "finalize":
                return await self._update(request, target)
            case "scale":
                return await self._scale(request, target)
            case "eviction":
                return await self._evict(request, target)
            case "token":
                return await self._token(request, target)
            case _:
                return await self.bind(request, target)

    async def _scale(self, request: web.Request, target: Target) -> web.Response:
        body = await request.read()
        live = self._objects.get(target.kind, target.namespace, target.name)
        parts = scaling if isinstance(target.kind, CustomKind) else subresources
        scale = parts.scale_of(live)
        if request.method == "GET":
            return answer(msgspec.json.encode(scale))
        options = _write_options(request)
        content_type = request.headers.get("Content-Type", "")
        if request.method == "PUT":
            asked = bodies.decode(body, content_type)
        else:
            media = patching.media_for(target.kind, content_type)
            gvk = subresources.SCALE_GVK
            asked = patching.patched(target.kind, live.name, scale, media, body, gvk=gvk)
        if not isinstance(asked, dict):
            raise status.bad_request("the body of the request must be an object of kind Scale")
        written = parts.rescale(self._objects, live, without_nulls(asked), options)
        return answer(msgspec.json.encode(parts.scale_of(written.record)), warnings=written.warnings)

    async def _token(self, request: web.Request, target: Target) -> web.Response:
        body = await read(request)
        asked = body if isinstance(body, dict) else {}
        account = self._objects.get(target.kind, target.namespace, target.name)
        return answer(msgspec.json.encode(self._tokens.answer(account, asked, request[USER])), code=201)

    async def _evict(self, request: web.Request, target: Target) -> web.Response:
        body = await read(request)
        eviction = body if isinstance(body, dict) else {}
        asked = eviction.get("deleteOptions") or {}
        if not isinstance(asked, dict):
            raise status.bad_request("Eviction: deleteOptions must be an object")
        options = queries.delete_options(request.query, asked)
        live = self._objects.get(target.kind, target.namespace, target.name)
        if (eviction.get("metadata") or {}).get("name", live.name) != live.name:
            raise status.bad_request("name in URL does not match name in Eviction object")
        evict(self._objects, self._deletions, live, options)
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return answer(msgspec.json.encode(done), code=201)

    async def bind(self, request: web.Request, target: Target) -> web.Response:
        """Give a pod its node: through the pod's subresource, or ``bindings`` where the body names the pod."""
        body = await read(request)
        binding: dict[str, Any] = body if isinstance(body, dict) else {}
        name = target.name or (binding.get("metadata") or {}).get("name", "")
        options = _write_options(request)
        live = self._objects.get(kinds.PODS, target.namespace, name)
        subresources.bind(self._objects, live, binding, options)
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return answer(msgspec.json.encode(done), code=201)


async def read(request: web.Request) -> Json:
    """The decoded body of a request.

    Raises:
        ApiError: 400 or 415.
    """
    return bodies.decode(await request.read(), request.headers.get("Content-Type", ""))


def answer(
    body: bytes, *, code: int = 200, warnings: tuple[str, ...] = (), media_type: str = _JSON
) -> web.Response:
    """A JSON answer; warnings as kubectl shows them (RFC 7234, section 5.5, code 299)."""
    response = web.Response(
        body=body, status=code, headers={"Content-Type": media_type, "Cache-Control": "no-cache, private"}
    )
    warn(response, warnings)
    return response


def warn(response: web.StreamResponse, warnings: tuple[str, ...]) -> None:
    """Add warnings to an answer that is not on its way yet."""
    for warning in warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')


def _written(renderer: Renderer, written: Written) -> web.Response:
    return answer(
        renderer.one(written.record), code=201 if written.created else 200, warnings=written.warnings
    )


def _write_options(request: web.Request) -> WriteOptions:
    return queries.write_options(request.query, request.headers.get("User-Agent", ""), request[USER])


async def _delete_options(request: web.Request) -> DeleteOptions:
    body = await request.read()
    asked = bodies.decode(body, request.headers.get("Content-Type", "")) if body else {}
    if not isinstance(asked, dict):
        raise status.bad_request("the body of a deletion must be an object of kind DeleteOptions")
    return queries.delete_options(request.query, asked)
