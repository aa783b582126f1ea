"""Annotations that become a TrafficPolicy, and timeouts: who may ask, how often, and how requests are tried.

Comes in: an Ingress. Goes out: a policy's spec without its targets, timeouts of rules, and losses. Not here: filters.
"""

from __future__ import annotations

import re
from typing import Any

from netloom.api.traffic import GROUP
from netloom.model.gateways.migrate.made import Made, Weight, is_header, service_of_url
from netloom.model.gateways.migrate.read import Old

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"([0-9]+)([kmg]?)", re.IGNORECASE)
_USUAL_COOKIE = "INGRESSCOOKIE"
_COOKIE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REALM = re.compile(r'[^"\\\x00-\x1f]{1,253}')
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_MOST_HEADERS = 64
_MOST_REQUESTS = 1_000_000
_MOST_BYTES = 1 << 50
_MOST_TRIES = 10
_SECONDS = re.compile(r"[0-9]{1,5}")
_CODES = {"http_500": 500, "http_502": 502, "http_503": 503, "http_504": 504, "http_429": 429}


def policy_of(old: Old, made: Made) -> dict[str, Any]:
    """Spec of the TrafficPolicy; empty where nothing asks for one."""
    spec: dict[str, Any] = {}
    _authentication(old, spec, made)
    _external(old, spec, made)
    said = old.said
    if networks := old.networks():
        spec["allowedSources"] = list(dict.fromkeys(map(str, networks)))
    _rate(old, spec, made)
    _tries(old, spec, made)
    if size := _SIZE.fullmatch(said.get("proxy-body-size", "").strip()):
        bytes_ = int(size[1]) * _UNITS[size[2].lower()]
        if bytes_:
            spec["maxBodyBytes"] = min(bytes_, _MOST_BYTES)
    elif "proxy-body-size" in said:
        made.lose(old, "proxy-body-size", "is no size: bodies may be of any")
    if said.get("affinity") == "cookie":
        name = said.get("session-cookie-name") or _USUAL_COOKIE
        if not _COOKIE.fullmatch(name):
            made.lose(old, "session-cookie-name", f"is no name of a cookie: {_USUAL_COOKIE} it is")
            name = _USUAL_COOKIE
        spec["sessionCookie"] = {"name": name}
    if said.get("affinity-mode") == "balanced":
        says = "a client stays with its endpoint while that lives"
        made.lose(old, "affinity-mode", says, weight=Weight.CHANGED)
    return spec


def timeouts_of(old: Old, made: Made) -> dict[str, str]:
    """Timeouts of rules."""
    read = old.said.get("proxy-read-timeout", "").strip().removesuffix("s")
    if not read:
        return {}
    if not _SECONDS.fullmatch(read):
        made.lose(old, "proxy-read-timeout", "is no number of seconds: there is no timeout")
        return {}
    says = "is of the whole answer; it was between two reads"
    made.lose(old, "proxy-read-timeout", says, weight=Weight.CHANGED)
    return {"backendRequest": f"{read}s"}


def _authentication(old: Old, spec: dict[str, Any], made: Made) -> None:
    kind = old.said.get("auth-type", "")
    if not kind:
        return
    namespace, slash, name = old.said.get("auth-secret", "").rpartition("/")
    if kind != "basic":
        made.lose(old, "auth-type", "has no counterpart: NOBODY IS ASKED for a password any more")
    elif slash and namespace != old.key.namespace:
        says = f"copy the Secret to {old.key.namespace}: requests are refused until it is there"
        made.lose(old, "auth-secret", says)
    if old.said.get("auth-secret-type", "auth-file") != "auth-file":
        says = "put its users into one key, auth, as lines of htpasswd: requests are refused until they are there"
        made.lose(old, "auth-secret-type", says)
    if kind == "basic":
        if not _NAME.fullmatch(name):
            made.lose(old, "auth-secret", "names no Secret: requests are refused until the policy does")
            name = "missing"
        basic: dict[str, Any] = {"secretRef": {"name": name}}
        if realm := _REALM.fullmatch(old.said.get("auth-realm", "").replace('"', "'")):
            basic["realm"] = realm[0]
        spec["basicAuth"] = basic


def _external(old: Old, spec: dict[str, Any], made: Made) -> None:
    url = old.said.get("auth-url", "")
    if not url:
        return
    service = service_of_url(url)
    if service is None or "$" in url:
        made.lose(old, "auth-url", "is no Service of this cluster: NOBODY IS ASKED any more")
        return
    key, port, path = service
    ref: dict[str, Any] = {"name": key.name, "port": port}
    if key.namespace != old.key.namespace:
        ref["namespace"] = key.namespace
        made.grant(GROUP, "TrafficPolicy", old.key.namespace, key, target_kind="Service")
    external: dict[str, Any] = {"backendRef": ref, "path": path}
    if headers := old.said.get("auth-response-headers", ""):
        names = (part.strip() for part in headers.split(","))
        external["responseHeaders"] = list(dict.fromkeys(name for name in names if is_header(name)))[
            :_MOST_HEADERS
        ]
    spec["externalAuth"] = external


def _rate(old: Old, spec: dict[str, Any], made: Made) -> None:
    for name, period in (("limit-rps", "1s"), ("limit-rpm", "1m")):
        count = old.number(name)
        if not count:
            continue
        if "rateLimit" in spec:
            made.lose(old, name, "one limit for one policy: limit-rps counts")
        else:
            spec["rateLimit"] = {"requests": min(count, _MOST_REQUESTS), "period": period}
            says = "no burst of five times as many, and 429 in place of 503"
            made.lose(old, name, says, weight=Weight.CHANGED)


def _tries(old: Old, spec: dict[str, Any], made: Made) -> None:
    tries, reasons = old.number("proxy-next-upstream-tries"), old.said.get("proxy-next-upstream", "")
    if not tries and not reasons:
        return
    words = reasons.split()
    if "off" in words:
        spec["retries"] = {"attempts": 0}
        return
    count = tries - 1 if tries else 2
    retries: dict[str, Any] = {"attempts": min(count, _MOST_TRIES)}
    if codes := list(dict.fromkeys(_CODES[word] for word in words if word in _CODES)):
        retries["on"] = codes
    if lost := [word for word in words if word not in _CODES and word not in ("error", "timeout")]:
        made.lose(old, "proxy-next-upstream", f"{', '.join(lost)} cannot be said")
    spec["retries"] = retries
