"""Definitions of GatewayClass, Gateway, ListenerSet, ReferenceGrant and BackendTLSPolicy (gateway.networking.k8s.io).

Goes out: schemas as words.py makes them. Source: Gateway API 1.5, standard channel: fields, bounds, defaults and rules; text is ours.
"""

from __future__ import annotations

from words import (
    GATEWAY_GROUP,
    Schema,
    conditions,
    group,
    group_of,
    host,
    kind_of,
    label_selector,
    local,
    name,
    named,
    namespace,
    number,
    parameters,
    pending,
    port,
    section,
    several,
    table,
    text,
    words,
)

_NO_TLS = (
    "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
    "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
)
_TERMINATES = (
    "self.all(l, l.protocol == 'HTTPS' && has(l.tls) ? !has(l.tls.mode) || l.tls.mode == 'Terminate' : true)",
    "tls mode must be Terminate for protocol HTTPS",
)
_HAS_MODE = (
    "self.all(l, l.protocol == 'TLS' ? has(l.tls) && has(l.tls.mode) && l.tls.mode != '' : true)",
    "tls mode must be set for protocol TLS",
)
_NO_HOST = (
    "self.all(l, l.protocol in ['TCP', 'UDP'] ? !has(l.hostname) || l.hostname == '' : true)",
    "hostname must not be specified for protocols ['TCP', 'UDP']",
)
_UNIQUE_NAME = (
    "self.all(l, self.exists_one(m, m.name == l.name))",
    "Listener name must be unique within the Gateway",
)
_UNIQUE_PLACE = (
    "self.all(l, self.exists_one(m, m.port == l.port && m.protocol == l.protocol && (has(l.hostname) && has(m.hostname) ? "
    "l.hostname == m.hostname : !has(l.hostname) && !has(m.hostname))))",
    "Combination of port, protocol and hostname must be unique for each listener",
)
_LISTENER_RULES = (_NO_TLS, _TERMINATES, _HAS_MODE, _NO_HOST, _UNIQUE_NAME, _UNIQUE_PLACE)

_COLUMN_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _said(condition: str) -> dict[str, str]:
    path = f'.status.conditions[?(@.type=="{condition}")].status'
    return {"name": condition, "type": "string", "jsonPath": path}


def _reference(about: str, *, kind: str = "", needed: tuple[str, ...] = ("group", "kind", "name")) -> Schema:
    group_schema = group_of(default="") if kind else group_of()
    fields = {
        "group": group_schema,
        "kind": kind_of(default=kind) if kind else kind_of(),
        "name": name(),
        "namespace": namespace("The object's own where it is missing."),
    }
    return group(about, fields, needed=needed)


def _listener_tls() -> Schema:
    certificates = several(
        _reference("A Secret of type kubernetes.io/tls.", kind="Secret", needed=("name",)),
        "What is shown to clients.",
        most=64,
    )
    return group(
        "How TLS ends here, or that it does not.",
        {
            "mode": words("Where TLS ends.", "Terminate", "Passthrough", default="Terminate"),
            "certificateRefs": certificates,
            "options": table("Settings of the implementation."),
        },
        rules=(
            (
                "self.mode == 'Terminate' ? (has(self.certificateRefs) && size(self.certificateRefs) > 0) || "
                "(has(self.options) && size(self.options) > 0) : true",
                "certificateRefs or options must be specified when mode is Terminate",
            ),
        ),
    )


def _allowed_routes() -> Schema:
    namespaces = group(
        "Namespaces of routes.",
        {
            "from": words("Which.", "All", "Selector", "Same", default="Same"),
            "selector": label_selector("Namespaces by their labels; with Selector only."),
        },
        default={"from": "Same"},
    )
    kinds = several(
        group("A kind.", {"group": group_of(default=GATEWAY_GROUP), "kind": kind_of()}, needed=("kind",)),
        "Kinds of routes; those of the protocol where it is missing.",
        most=8,
    )
    fields = {"namespaces": namespaces, "kinds": kinds}
    return group("Which routes may attach.", fields, default={"namespaces": {"from": "Same"}})


def _listener() -> Schema:
    return group(
        "A port, and what is taken there.",
        {
            "name": section("Unique; routes name it as sectionName."),
            "hostname": host("Only requests for this host; all where it is missing."),
            "port": port("As clients dial it."),
            "protocol": text(
                "HTTP, HTTPS, TLS, TCP or UDP.",
                least=1,
                longest=255,
                pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$",
            ),
            "tls": _listener_tls(),
            "allowedRoutes": _allowed_routes(),
        },
        needed=("name", "port", "protocol"),
    )


def _listener_statuses() -> Schema:
    kinds = several(group("A kind.", {"group": group_of(), "kind": kind_of()}, needed=("kind",)), most=8)
    item = group(
        "What becomes of one listener.",
        {
            "name": section(),
            "supportedKinds": kinds,
            "attachedRoutes": number("Routes that are accepted here."),
            "conditions": conditions(),
        },
        needed=("name", "attachedRoutes", "conditions"),
    )
    return several(item, "Listener by listener.", keys=("name",), most=64)


def _client_validation() -> Schema:
    mode = words("What of clients without one.", "AllowValidOnly", "AllowInsecureFallback", default="AllowValidOnly")  # fmt: skip
    return group(
        "What clients' certificates must be.",
        {
            "caCertificateRefs": several(
                _reference("A ConfigMap with ca.crt."), "Authorities.", least=1, most=8
            ),
            "mode": mode,
        },
        needed=("caCertificateRefs",),
    )


def _gateway_tls() -> Schema:
    validation = group("How clients prove who they are.", {"validation": _client_validation()})
    per_port = several(
        group("At one port.", {"port": port(), "tls": validation}, needed=("port", "tls")),
        "In place of the default, at some ports.",
        keys=("port",),
        most=64,
    )
    frontend = group("TLS with clients.", {"default": validation, "perPort": per_port}, needed=("default",))
    backend = group(
        "TLS with backends.",
        {"clientCertificateRef": _reference("Shown to backends.", kind="Secret", needed=("name",))},
    )
    return group("TLS of the whole gateway.", {"frontend": frontend, "backend": backend})


def _addresses(*, values_needed: bool) -> Schema:
    item = group(
        "An address.",
        {
            "type": text("IPAddress or Hostname.", least=1, longest=253, default="IPAddress", pattern=r"^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$"),
            "value": text("The address.", longest=253, **({"least": 1} if values_needed else {})),
        },
        needed=("value",) if values_needed else (),
    )  # fmt: skip
    rules = (
        (
            "self.all(a, a.type == 'IPAddress' && has(a.value) ? self.exists_one(b, b.type == a.type && has(b.value) && b.value == a.value) : true)",
            "IPAddress values must be unique",
        ),
        (
            "self.all(a, a.type == 'Hostname' && has(a.value) ? self.exists_one(b, b.type == a.type && has(b.value) && b.value == a.value) : true)",
            "Hostname values must be unique",
        ),
    )
    return several(item, "Where clients find it.", most=16, **({} if values_needed else {"rules": rules}))


def gateway() -> Schema:
    """gateway.networking.k8s.io/v1 Gateway."""
    meta = text(least=0, longest=4096)
    label = text(longest=63, pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
    infrastructure = group(
        "What the implementation makes for it.",
        {
            "labels": table("On what is made.", value=label, most=8),
            "annotations": table("On what is made.", value=meta, most=8),
            "parametersRef": parameters("Settings of the implementation."),
        },
    )
    allowed = group(
        "Which ListenerSets may add listeners.",
        {
            "namespaces": group(
                "Their namespaces.",
                {
                    "from": words("Which.", "All", "Selector", "Same", "None", default="None"),
                    "selector": label_selector("Namespaces by their labels; with Selector only."),
                },
                default={"from": "None"},
            )
        },
    )
    spec = group(
        "What is wanted.",
        {
            "gatewayClassName": name("The GatewayClass."),
            "listeners": several(_listener(), "Where traffic is taken.", keys=("name",), least=1, most=64, rules=_LISTENER_RULES),
            "addresses": _addresses(values_needed=False),
            "infrastructure": infrastructure,
            "allowedListeners": allowed,
            "tls": _gateway_tls(),
        },
        needed=("gatewayClassName", "listeners"),
    )  # fmt: skip
    waiting = pending("Accepted", "Programmed")
    status = group(
        "What is.",
        {
            "addresses": _addresses(values_needed=True),
            "conditions": conditions("Accepted", "Programmed"),
            "listeners": _listener_statuses(),
            "attachedListenerSets": number("ListenerSets that are accepted.", least=0),
        },
        default={"conditions": waiting},
    )
    return named("Gateway", "where traffic comes in, and what listens there.", spec, status)


def gateway_class() -> Schema:
    """gateway.networking.k8s.io/v1 GatewayClass."""
    controller = text(
        "Who serves gateways of this class, such as netloom.io/gateway.",
        least=1,
        longest=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$",
    )
    controller["x-kubernetes-validations"] = [{"message": "Value is immutable", "rule": "self == oldSelf"}]
    reference = parameters("Settings of the implementation.")
    reference["properties"]["namespace"] = namespace()
    spec = group(
        "What is wanted.",
        {
            "controllerName": controller,
            "parametersRef": reference,
            "description": text("For people.", longest=64),
        },
        needed=("controllerName",),
    )
    feature = group("A feature.", {"name": text()}, needed=("name",))
    status = group(
        "What is.",
        {
            "conditions": conditions("Accepted"),
            "supportedFeatures": several(feature, "What the implementation can do.", keys=("name",), most=64),
        },
        default={"conditions": pending("Accepted")},
    )
    return named("GatewayClass", "a kind of gateways, and who serves them.", spec, status)


def listener_set() -> Schema:
    """gateway.networking.k8s.io/v1 ListenerSet."""
    parent = group(
        "The Gateway.",
        {
            "group": group_of(default=GATEWAY_GROUP),
            "kind": kind_of(default="Gateway"),
            "name": name(),
            "namespace": namespace("The object's own where it is missing."),
        },
        needed=("name",),
    )
    listeners = several(_listener(), "Further listeners.", keys=("name",), least=1, most=64, rules=_LISTENER_RULES)  # fmt: skip
    spec = group("What is wanted.", {"parentRef": parent, "listeners": listeners}, needed=("parentRef", "listeners"))  # fmt: skip
    status = group(
        "What is.",
        {"conditions": conditions("Accepted", "Programmed"), "listeners": _listener_statuses()},
        default={"conditions": pending("Accepted", "Programmed")},
    )
    return named("ListenerSet", "further listeners of a Gateway.", spec, status)


def reference_grant() -> Schema:
    """gateway.networking.k8s.io/v1beta1 ReferenceGrant."""
    sender = group(
        "Who refers.",
        {"group": group_of(), "kind": kind_of(), "namespace": namespace()},
        needed=("group", "kind", "namespace"),
    )
    target = group(
        "What is referred to.",
        {"group": group_of(), "kind": kind_of(), "name": name("All of the kind where it is missing.")},
        needed=("group", "kind"),
    )
    spec = group(
        "What is allowed.",
        {
            "from": several(sender, "Any of these may refer.", least=1, most=16),
            "to": several(target, "To any of these, in the grant's namespace.", least=1, most=16),
        },
        needed=("from", "to"),
    )
    return named("ReferenceGrant", "objects of other namespaces may refer to objects of this one.", spec)


def backend_tls_policy() -> Schema:
    """gateway.networking.k8s.io/v1 BackendTLSPolicy."""
    target = local("A Service.")
    target["properties"]["sectionName"] = section("A port of it, by name.")
    alternative = group(
        "A name in the certificate.",
        {
            "type": words("What it is.", "Hostname", "URI"),
            "hostname": host(),
            "uri": text(least=1, longest=253, pattern=r"^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\?([^#]*))?(#(.*))?"),
        },
        needed=("type",),
        rules=(
            (
                "self.type == 'Hostname' ? has(self.hostname) && !has(self.uri) : has(self.uri) && !has(self.hostname)",
                "SubjectAltName must contain exactly the field that type names",
            ),
        ),
    )  # fmt: skip
    validation = group(
        "What backends must prove.",
        {
            "caCertificateRefs": several(local("A ConfigMap with ca.crt."), "Authorities.", most=8),
            "wellKnownCACertificates": text("System: what the system trusts.", least=1, longest=253, pattern=r"^(System|([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+))$"),
            "hostname": host("Server name that is sent, and what the certificate must be for.", wild=False),
            "subjectAltNames": several(alternative, "Names that the certificate must have, in place of hostname.", most=5),
        },
        needed=("hostname",),
        rules=(
            (
                "(has(self.caCertificateRefs) && size(self.caCertificateRefs) > 0) != (has(self.wellKnownCACertificates) && self.wellKnownCACertificates != '')",
                "exactly one of caCertificateRefs or wellKnownCACertificates must be specified",
            ),
        ),
    )  # fmt: skip
    spec = group(
        "What is wanted.",
        {
            "targetRefs": several(target, "Services that are asked with TLS.", least=1, most=16, rules=(UNIQUE_TARGETS,)),
            "validation": validation,
            "options": table("Settings of the implementation."),
        },
        needed=("targetRefs", "validation"),
    )  # fmt: skip
    return named("BackendTLSPolicy", "how gateways speak TLS to a Service.", spec, policy_status())


UNIQUE_TARGETS = (
    "self.all(a, self.exists_one(b, a.group == b.group && a.kind == b.kind && a.name == b.name && "
    "(has(a.sectionName) ? has(b.sectionName) && a.sectionName == b.sectionName : !has(b.sectionName))))",
    "targetRefs must be distinct, by sectionName where they name one object",
)


def policy_status() -> Schema:
    """What gateways make of a policy (GEP-713)."""
    ancestor = group(
        "A gateway or route that it bears on.",
        {
            "group": group_of(default=GATEWAY_GROUP),
            "kind": kind_of(default="Gateway"),
            "namespace": namespace(),
            "name": name(),
            "sectionName": section(),
            "port": port(),
        },
        needed=("name",),
    )
    item = group(
        "What becomes of it there.",
        {"ancestorRef": ancestor, "controllerName": text(least=1, longest=253), "conditions": conditions()},
        needed=("ancestorRef", "controllerName", "conditions"),
    )
    return group("What is.", {"ancestors": several(item, most=16)}, needed=("ancestors",))


COLUMNS = {
    "GatewayClass": [
        {"name": "Controller", "type": "string", "jsonPath": ".spec.controllerName"},
        _said("Accepted"),
        _COLUMN_AGE,
        {"name": "Description", "type": "string", "jsonPath": ".spec.description", "priority": 1},
    ],
    "Gateway": [
        {"name": "Class", "type": "string", "jsonPath": ".spec.gatewayClassName"},
        {"name": "Address", "type": "string", "jsonPath": ".status.addresses[*].value"},
        _said("Programmed"),
        _COLUMN_AGE,
    ],
    "ListenerSet": [_said("Accepted"), _said("Programmed"), _COLUMN_AGE],
    "ReferenceGrant": [_COLUMN_AGE],
    "BackendTLSPolicy": [_COLUMN_AGE],
}
