"""Definitions of the routes: HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute (gateway.networking.k8s.io).

Goes out: schemas as words.py makes them. Source: Gateway API 1.5, standard channel (TCPRoute, UDPRoute: the experimental one, for they
are in no other): fields, bounds, defaults and rules; text is ours.
"""

from __future__ import annotations

from words import (
    GATEWAY_GROUP,
    HOST_LABELS,
    Schema,
    conditions,
    duration,
    group,
    group_of,
    host,
    kind_of,
    local,
    name,
    named,
    namespace,
    number,
    port,
    section,
    several,
    text,
    words,
    yes_or_no,
)

_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"
_SERVICE = r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$"
_METHOD = r"^[A-Za-z_][A-Za-z_0-9]*$"
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_ORIGIN = r"(^\*$)|(^([a-zA-Z][a-zA-Z0-9+\-.]+):\/\/([^:/?#]+)(:([0-9]{1,5}))?$)"
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_HOSTS = {"name": "Hostnames", "type": "string", "jsonPath": ".spec.hostnames"}
COLUMNS = {
    "HTTPRoute": [_HOSTS, _AGE],
    "GRPCRoute": [_HOSTS, _AGE],
    "TLSRoute": [_AGE],
    "TCPRoute": [_AGE],
    "UDPRoute": [_AGE],
}

_SAME_PARENT = (
    "p.group == q.group && p.kind == q.kind && p.name == q.name && "
    "(has(p.__namespace__) ? p.__namespace__ : '') == (has(q.__namespace__) ? q.__namespace__ : '')"
)
_SECTION = "(has({0}.sectionName) ? {0}.sectionName : '')"
_PORT = "(has({0}.port) ? {0}.port : 0)"
_DISTINCT = (
    f"self.all(p, self.exists_one(q, {_SAME_PARENT} && {_SECTION.format('p')} == {_SECTION.format('q')} && {_PORT.format('p')} == {_PORT.format('q')}))",
    "sectionName or port must be unique when parentRefs includes 2 or more references to the same parent",
)
_SECTIONS_SAID = (
    f"self.all(p, self.all(q, {_SAME_PARENT} ? ({_SECTION.format('p')} == '') == ({_SECTION.format('q')} == '') && ({_PORT.format('p')} == 0) == ({_PORT.format('q')} == 0) : true))",
    "sectionName or port must be specified when parentRefs includes 2 or more references to the same parent",
)


def _parents() -> Schema:
    fields = {
        "group": group_of(default=GATEWAY_GROUP),
        "kind": kind_of(default="Gateway"),
        "name": name(),
        "namespace": namespace("The route's own where it is missing."),
        "sectionName": section("A listener; all where it is missing."),
        "port": port("Listeners of this port only."),
    }
    item = group("A Gateway or ListenerSet.", fields, needed=("name",))
    return several(item, "Where the route attaches.", most=32, rules=(_SECTIONS_SAID, _DISTINCT))


def _status() -> Schema:
    parent = group(
        "The parentRef.",
        {
            "group": group_of(default=GATEWAY_GROUP),
            "kind": kind_of(default="Gateway"),
            "name": name(),
            "namespace": namespace(),
            "sectionName": section(),
            "port": port(),
        },
        needed=("name",),
    )
    item = group(
        "What becomes of the route at one parent.",
        {"parentRef": parent, "controllerName": text(least=1, longest=253), "conditions": conditions()},
        needed=("parentRef", "controllerName", "conditions"),
    )
    return group("What is.", {"parents": several(item, most=32)}, needed=("parents",))


def _backend_fields() -> dict[str, Schema]:
    return {
        "group": group_of(default=""),
        "kind": kind_of(default="Service"),
        "name": name(),
        "namespace": namespace("The route's own where it is missing; others need a ReferenceGrant."),
        "port": port("Of the Service."),
    }


_NEEDS_PORT = (
    "size(self.group) == 0 && self.kind == 'Service' ? has(self.port) : true",
    "Must have port for Service reference",
)


def _backends(filters: Schema | None = None) -> Schema:
    fields = _backend_fields()
    fields["weight"] = number("Share among the rule's backends.", least=0, most=1000000, default=1)
    if filters is not None:
        fields["filters"] = filters
    item = group("A Service and its share.", fields, needed=("name",), rules=(_NEEDS_PORT,))
    return several(item, "Where requests go.", most=16)


def _headers(about: str) -> Schema:
    pair = group(
        "A header.",
        {
            "name": text(least=1, longest=256, pattern=_HEADER_NAME),
            "value": text(least=1, longest=4096),
        },
        needed=("name", "value"),
    )
    fields = {
        "set": several(pair, "In place of what is there.", keys=("name",), most=16),
        "add": several(pair, "Beside what is there.", keys=("name",), most=16),
        "remove": several({"type": "string"}, "Taken away.", unique=True, most=16),
    }
    return group(about, fields)


def _mirror() -> Schema:
    fraction = group(
        "This part of requests.",
        {"numerator": number(least=0), "denominator": number(least=1, default=100)},
        needed=("numerator",),
        rules=(
            ("self.numerator <= self.denominator", "numerator must be less than or equal to denominator"),
        ),
    )
    backend = group("A Service.", _backend_fields(), needed=("name",), rules=(_NEEDS_PORT,))
    return group(
        "A copy goes there too, and its answers are not read.",
        {"backendRef": backend, "percent": number("Of requests.", least=0, most=100), "fraction": fraction},
        needed=("backendRef",),
        rules=(
            (
                "!(has(self.percent) && has(self.fraction))",
                "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
            ),
        ),
    )


def _path_change() -> Schema:
    return group(
        "Another path.",
        {
            "type": words("What is replaced.", "ReplaceFullPath", "ReplacePrefixMatch"),
            "replaceFullPath": text("The whole path.", longest=1024),
            "replacePrefixMatch": text("In place of the prefix that matched.", longest=1024),
        },
        needed=("type",),
        rules=(
            (
                "self.type == 'ReplaceFullPath' ? has(self.replaceFullPath) : true",
                "replaceFullPath must be specified when type is set to 'ReplaceFullPath'",
            ),
            (
                "has(self.replaceFullPath) ? self.type == 'ReplaceFullPath' : true",
                "type must be 'ReplaceFullPath' when replaceFullPath is set",
            ),
            (
                "self.type == 'ReplacePrefixMatch' ? has(self.replacePrefixMatch) : true",
                "replacePrefixMatch must be specified when type is set to 'ReplacePrefixMatch'",
            ),
            (
                "has(self.replacePrefixMatch) ? self.type == 'ReplacePrefixMatch' : true",
                "type must be 'ReplacePrefixMatch' when replacePrefixMatch is set",
            ),
        ),
    )


def _redirect() -> Schema:
    status = number("Of the answer.", default=302, enum=[301, 302, 303, 307, 308])
    fields = {
        "scheme": words("As the request came where it is missing.", "http", "https"),
        "hostname": host("As the request came where it is missing.", wild=False),
        "path": _path_change(),
        "port": port("The scheme's own where a scheme is said, else the listener's."),
        "statusCode": status,
    }
    return group("An answer that sends clients elsewhere.", fields)


def _cors() -> Schema:
    any_name = text(least=1, longest=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$")
    star = ("!('*' in self) || size(self) == 1", "{} cannot contain '*' alongside other {}")
    origins = several(
        text(least=1, longest=253, pattern=_ORIGIN),
        "Who may ask.",
        unique=True,
        most=64,
        rules=((star[0], star[1].format("AllowOrigins", "origins")),),
    )
    methods = several(
        words("", *_METHODS, "*"),
        "What may be asked.",
        unique=True,
        most=9,
        rules=((star[0], star[1].format("AllowMethods", "methods")),),
    )
    headers = several(
        any_name,
        "Headers that may be sent.",
        unique=True,
        most=64,
        rules=((star[0], star[1].format("AllowHeaders", "headers")),),
    )
    fields = {
        "allowOrigins": origins,
        "allowCredentials": yes_or_no("With cookies and the like."),
        "allowMethods": methods,
        "allowHeaders": headers,
        "exposeHeaders": several(any_name, "Headers that scripts may read.", unique=True, most=64),
        "maxAge": number("Seconds for which browsers remember.", least=1, default=5),
    }
    return group("Answers to browsers' questions (Fetch standard).", fields)


def _filters(kinds: dict[str, tuple[str, Schema]], rules: tuple[tuple[str, str], ...]) -> Schema:
    fields = {"type": words("Which.", *kinds)} | dict(kinds.values())
    own = tuple(
        rule
        for word, (field, _schema) in kinds.items()
        for rule in (
            (
                f"!(has(self.{field}) && self.type != '{word}')",
                f"filter.{field} must be nil if the filter.type is not {word}",
            ),
            (
                f"!(!has(self.{field}) && self.type == '{word}')",
                f"filter.{field} must be specified for {word} filter.type",
            ),
        )
    )
    item = group("A filter.", fields, needed=("type",), rules=own)
    return several(item, "What is done to requests and answers.", most=16, rules=rules)


def _once(kind: str) -> tuple[str, str]:
    return f"self.filter(f, f.type == '{kind}').size() <= 1", f"{kind} filter cannot be repeated"


_HTTP_FILTERS = {
    "RequestHeaderModifier": ("requestHeaderModifier", _headers("Changes of the request's headers.")),
    "ResponseHeaderModifier": ("responseHeaderModifier", _headers("Changes of the answer's headers.")),
    "RequestMirror": ("requestMirror", _mirror()),
    "RequestRedirect": ("requestRedirect", _redirect()),
    "URLRewrite": (
        "urlRewrite",
        group("What the backend is asked.", {"hostname": host(wild=False), "path": _path_change()}),
    ),
    "ExtensionRef": ("extensionRef", local("A filter of the implementation.")),
    "CORS": ("cors", _cors()),
}
_HTTP_FILTER_RULES = (
    (
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
    ),
    _once("RequestHeaderModifier"),
    _once("ResponseHeaderModifier"),
    _once("RequestRedirect"),
    _once("URLRewrite"),
    _once("CORS"),
)
_GRPC_FILTERS = {
    word: _HTTP_FILTERS[word]
    for word in ("ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef")
}
_GRPC_FILTER_RULES = (_once("RequestHeaderModifier"), _once("ResponseHeaderModifier"))


def _path_match() -> Schema:
    said = "(self.type in ['Exact', 'PathPrefix'])"
    banned = ["//", "/./", "/../", "%2f", "%2F", "#"]
    ends = ["/..", "/."]
    rules = [
        (
            f"{said} ? self.value.startsWith('/') : true",
            "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
        ),
        *(
            (
                f"{said} ? !self.value.contains('{part}') : true",
                f"must not contain '{part}' when type one of ['Exact', 'PathPrefix']",
            )
            for part in banned
        ),
        *(
            (
                f"{said} ? !self.value.endsWith('{part}') : true",
                f"must not end with '{part}' when type one of ['Exact', 'PathPrefix']",
            )
            for part in ends
        ),
        (
            said
            + r""" ? self.value.matches(r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$") : true""",
            "must only contain valid characters for types ['Exact', 'PathPrefix']",
        ),
    ]
    fields = {
        "type": words("How.", "Exact", "PathPrefix", "RegularExpression", default="PathPrefix"),
        "value": text("With what.", longest=1024, default="/"),
    }
    return group(
        "What the path must be.", fields, rules=tuple(rules), default={"type": "PathPrefix", "value": "/"}
    )


def _value_matches(about: str, longest: int, *, least: int = 1) -> Schema:
    item = group(
        "A name and its value.",
        {
            "type": words("How.", "Exact", "RegularExpression", default="Exact"),
            "name": text(least=1, longest=256, pattern=_HEADER_NAME),
            "value": text(least=least, longest=longest),
        },
        needed=("name", "value"),
    )
    return several(item, about, keys=("name",), most=16)


_ONE_PREFIX = (
    "(size(self.matches) == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix')"
)


def _prefix_rule(kind: str, field: str, *, in_backends: bool) -> tuple[str, str]:
    replaced = f"f.type == '{kind}' && has(f.{field}.path) && f.{field}.path.type == 'ReplacePrefixMatch'"
    exists = f"has(self.filters) && self.filters.exists(f, {replaced})"
    if in_backends:
        exists = f"has(self.backendRefs) && self.backendRefs.exists(b, has(b.filters) && b.filters.exists(f, {replaced}))"
    where = "Within backendRefs, when" if in_backends else "When"
    return (
        f"({exists}) ? {_ONE_PREFIX} : true",
        f"{where} using {kind} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified",
    )


def _timeouts() -> Schema:
    return group(
        "How long things may take.",
        {
            "request": duration("The whole of request and answer; 0s: no limit."),
            "backendRequest": duration("One try at a backend; 0s: no limit."),
        },
        rules=(
            (
                "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') && "
                "duration(self.backendRequest) > duration(self.request))",
                "backendRequest timeout cannot be longer than request timeout",
            ),
        ),
    )


_UNIQUE_RULES = (
    "self.all(l, !has(l.name) || self.exists_one(m, has(m.name) && m.name == l.name))",
    "Rule name must be unique within the route",
)
_MATCHES_IN_ALL = (
    "self.map(r, has(r.matches) ? size(r.matches) : 0).sum() <= 128",
    "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be less than 128",
)


def http_route() -> Schema:
    """gateway.networking.k8s.io/v1 HTTPRoute."""
    match = group(
        "All that is said must hold.",
        {
            "path": _path_match(),
            "headers": _value_matches("Headers.", 4096),
            "queryParams": _value_matches("Query parameters.", 1024),
            "method": words("The method.", *_METHODS),
        },
    )
    filters = _filters(_HTTP_FILTERS, _HTTP_FILTER_RULES)
    rule = group(
        "Which requests, and what becomes of them.",
        {
            "name": section("Unique in the route."),
            "matches": several(match, "Any of these.", most=64, default=[{"path": {"type": "PathPrefix", "value": "/"}}]),
            "filters": filters,
            "backendRefs": _backends(filters),
            "timeouts": _timeouts(),
        },
        rules=(
            (
                "!(has(self.backendRefs) && size(self.backendRefs) > 0 && has(self.filters) && self.filters.exists(f, f.type == 'RequestRedirect'))",
                "RequestRedirect filter must not be used together with backendRefs",
            ),
            _prefix_rule("RequestRedirect", "requestRedirect", in_backends=False),
            _prefix_rule("URLRewrite", "urlRewrite", in_backends=False),
            _prefix_rule("RequestRedirect", "requestRedirect", in_backends=True),
            _prefix_rule("URLRewrite", "urlRewrite", in_backends=True),
        ),
    )  # fmt: skip
    everything = [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]
    spec = group(
        "What is wanted.",
        {
            "parentRefs": _parents(),
            "hostnames": several(host(), "Host names; the listener's where it is missing.", most=16),
            "rules": several(rule, "The most specific match counts.", least=1, most=16, default=everything, rules=(_MATCHES_IN_ALL, _UNIQUE_RULES)),
        },
    )  # fmt: skip
    return named("HTTPRoute", "what becomes of HTTP requests.", spec, _status())


def grpc_route() -> Schema:
    """gateway.networking.k8s.io/v1 GRPCRoute."""
    method = group(
        "The method.",
        {
            "type": words("How.", "Exact", "RegularExpression", default="Exact"),
            "service": text("Such as shop.Cart.", longest=1024),
            "method": text("Such as Add.", longest=1024),
        },
        rules=(
            (
                "has(self.service) || has(self.method)",
                "One or both of 'service' or 'method' must be specified",
            ),
            (
                f"self.type == 'Exact' && has(self.service) ? self.service.matches(r'{_SERVICE}') : true",
                "service must only contain valid characters",
            ),
            (
                f"self.type == 'Exact' && has(self.method) ? self.method.matches(r'{_METHOD}') : true",
                "method must only contain valid characters",
            ),
        ),
    )
    match = group(
        "All that is said must hold.", {"method": method, "headers": _value_matches("Headers.", 4096)}
    )
    filters = _filters(_GRPC_FILTERS, _GRPC_FILTER_RULES)
    rule = group(
        "Which calls, and what becomes of them.",
        {
            "name": section("Unique in the route."),
            "matches": several(match, "Any of these; all calls where it is missing.", most=64),
            "filters": filters,
            "backendRefs": _backends(filters),
        },
    )
    spec = group(
        "What is wanted.",
        {
            "parentRefs": _parents(),
            "hostnames": several(host(), "Host names; the listener's where it is missing.", most=16),
            "rules": several(rule, "The most specific match counts.", most=16, rules=(_MATCHES_IN_ALL, _UNIQUE_RULES)),
        },
    )  # fmt: skip
    return named("GRPCRoute", "what becomes of gRPC calls.", spec, _status())


def _stream_route(
    kind: str, about: str, more: dict[str, Schema], *, needed: tuple[str, ...] = ("rules",)
) -> Schema:
    backends = _backends()
    backends["minItems"] = 1
    rule = group("Where connections go.", {"name": section(), "backendRefs": backends}, needed=("backendRefs",))  # fmt: skip
    rules = several(rule, "One rule.", least=1, most=1)
    spec = group("What is wanted.", {"parentRefs": _parents(), **more, "rules": rules}, needed=needed)
    return named(kind, about, spec, _status())


def tls_route() -> Schema:
    """gateway.networking.k8s.io/v1 TLSRoute."""
    names = several(
        host(),
        "Server names.",
        least=1,
        most=1024,
        rules=(
            ("self.all(h, !isIP(h))", "Hostnames cannot contain an IP"),
            (
                f"self.all(h, h.matches(r'^([*][.])?{HOST_LABELS}$'))",
                "Wildcards on hostnames must be the first label, and the rest of hostname must be valid based on RFC-1123",
            ),
        ),
    )
    return _stream_route(
        "TLSRoute",
        "where TLS connections go, by server name.",
        {"hostnames": names},
        needed=("hostnames", "rules"),
    )


def tcp_route() -> Schema:
    """gateway.networking.k8s.io/v1alpha2 TCPRoute."""
    return _stream_route("TCPRoute", "where TCP connections go.", {})


def udp_route() -> Schema:
    """gateway.networking.k8s.io/v1alpha2 UDPRoute."""
    return _stream_route("UDPRoute", "where UDP datagrams go.", {})
