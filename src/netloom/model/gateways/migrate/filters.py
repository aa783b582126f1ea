"""Annotations that become filters of an HTTPRoute: redirects, headers, CORS, mirrors, another host for the backend.

Comes in: an Ingress, ConfigMaps. Goes out: filters, and losses. Not here: rewrites of paths (``paths.py``), policies (``policies.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from netloom.api.gateway import GROUP
from netloom.model.gateways.hostnames import is_precise
from netloom.model.gateways.migrate.made import Made, Weight, is_header, service_of_url
from netloom.model.gateways.migrate.outcome import Boundary
from netloom.model.gateways.migrate.read import Old
from netloom.units import ObjectKey

Filter = dict[str, Any]

_STATUSES = (301, 302, 303, 307, 308)
_METHODS = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
_HEADERS = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
_MAX_AGE = 1_728_000
_MOST = 64
_MOST_HEADERS = 16
_KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*")
_ORIGIN = re.compile(r"\*|[a-zA-Z][a-zA-Z0-9+\-.]+://[^:/?#]+(:[0-9]{1,5})?")


def redirect_of(old: Old, made: Made) -> Filter | None:
    """The redirect that answers everything of an Ingress."""
    for name, usual in (("permanent-redirect", 301), ("temporal-redirect", 302)):
        target = old.said.get(name, "")
        if not target:
            continue
        code = old.said.get(f"{name}-code", "")
        status = int(code) if code.isdigit() else usual
        if status not in _STATUSES:
            made.lose(
                old, f"{name}-code", f"only {', '.join(map(str, _STATUSES))} can be said; {usual} it is"
            )
            status = usual
        found = _elsewhere(target, status)
        if found is None:
            made.lose(old, name, "is no URL that a redirect can say: nothing is made of it")
            return None
        if "$request_uri" not in target:
            says = "the query is kept; it was dropped"
            made.lose(old, name, says, weight=Weight.CHANGED, boundaries=(Boundary.QUERY,))
        return found
    return None


def _elsewhere(target: str, status: int) -> Filter | None:
    is_same = target.endswith("$request_uri")
    try:
        parts = urlsplit(target.removesuffix("$request_uri").replace("$scheme://", "//"))
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("", "http", "https") or (parts.hostname and not is_precise(parts.hostname)):
        return None
    if "$" in parts.geturl() or parts.query or parts.fragment or (parts.scheme and not parts.hostname):
        return None
    if not parts.netloc and not parts.path.startswith("/"):
        return None
    said: Filter = {"statusCode": status}
    if parts.scheme:
        said["scheme"] = parts.scheme
    if parts.hostname:
        said["hostname"] = parts.hostname
    if port:
        said["port"] = port
    if not is_same:
        said["path"] = {"type": "ReplaceFullPath", "replaceFullPath": parts.path or "/"}
    return {"type": "RequestRedirect", "requestRedirect": said}


def to_https() -> Filter:
    """Elsewhere is the same with TLS."""
    return {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 308}}


def to_path(path: str, status: int) -> Filter:
    """Elsewhere is another path."""
    where = {"type": "ReplaceFullPath", "replaceFullPath": path}
    return {"type": "RequestRedirect", "requestRedirect": {"path": where, "statusCode": status}}


def to_host(host: str, status: int) -> Filter:
    """Elsewhere is another host."""
    return {"type": "RequestRedirect", "requestRedirect": {"hostname": host, "statusCode": status}}


def filters_of(
    old: Old, replaced: dict[str, Any] | None, config_maps: Mapping[ObjectKey, Mapping[str, str]], made: Made
) -> list[Filter]:
    """Filters of requests that go to a backend; ``replaced`` is what is done to the path."""
    found: list[Filter] = []
    rewrite = dict(replaced or {})
    vhost = old.said.get("upstream-vhost", "")
    if is_precise(vhost):
        rewrite["hostname"] = vhost
    elif vhost:
        made.lose(old, "upstream-vhost", "is no host name: the request's own goes on")
    if rewrite:
        found.append({"type": "URLRewrite", "urlRewrite": rewrite})
    if prefix := old.said.get("x-forwarded-prefix", ""):
        said = {"set": [{"name": "X-Forwarded-Prefix", "value": prefix}]}
        found.append({"type": "RequestHeaderModifier", "requestHeaderModifier": said})
    found += _custom_headers(old, config_maps, made)
    found += _mirror(old, made)
    if old.is_on("enable-cors"):
        found.append({"type": "CORS", "cors": _cors(old)})
        made.lose(
            old,
            "enable-cors",
            "OPTIONS that are no browser's question go to the backend; they were answered with 204",
            weight=Weight.CHANGED,
            boundaries=(Boundary.METHOD,),
        )
    return found


def _custom_headers(old: Old, config_maps: Mapping[ObjectKey, Mapping[str, str]], made: Made) -> list[Filter]:
    name = old.said.get("custom-headers", "")
    if not name:
        return []
    namespace, slash, rest = name.partition("/")
    data = config_maps.get(ObjectKey(namespace, rest) if slash else ObjectKey(old.key.namespace, name))
    if not data:
        made.lose(old, "custom-headers", "the ConfigMap is not among the files: its headers are not set")
        return []
    found = [
        {"name": header, "value": value}
        for header, value in sorted(data.items())
        if is_header(header) and value
    ]
    said = {"set": found[:_MOST_HEADERS]}
    return [{"type": "ResponseHeaderModifier", "responseHeaderModifier": said}]


def _mirror(old: Old, made: Made) -> list[Filter]:
    url = old.said.get("mirror-target", "")
    if not url:
        return []
    service = service_of_url(re.sub(r"/?\$request_uri$", "", url))
    if service is None:
        made.lose(old, "mirror-target", "is no Service of this cluster: nothing is mirrored")
        return []
    key, port, _ = service
    ref: dict[str, Any] = {"name": key.name, "port": port}
    if key.namespace != old.key.namespace:
        ref["namespace"] = key.namespace
        made.grant(GROUP, "HTTPRoute", old.key.namespace, key, target_kind="Service")
    return [{"type": "RequestMirror", "requestMirror": {"backendRef": ref}}]


def _cors(old: Old) -> dict[str, Any]:
    said = old.said
    found: dict[str, Any] = {
        "allowOrigins": _alone(
            o for o in _list(said.get("cors-allow-origin") or "*") if _ORIGIN.fullmatch(o)
        ),
        "allowMethods": _alone(
            m for m in _list(said.get("cors-allow-methods") or _METHODS) if m in _KNOWN_METHODS
        ),
        "allowHeaders": _alone(h for h in _list(said.get("cors-allow-headers") or _HEADERS) if is_header(h)),
        "allowCredentials": old.is_on("cors-allow-credentials", otherwise=True),
        "maxAge": old.number("cors-max-age", _MAX_AGE) or _MAX_AGE,
    }
    if expose := said.get("cors-expose-headers", ""):
        found["exposeHeaders"] = [header for header in _list(expose) if is_header(header)]
    return found


def _alone(words: Iterable[str]) -> list[str]:
    """A star says everything."""
    found = list(words)
    return ["*"] if "*" in found else found[:_MOST]


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
