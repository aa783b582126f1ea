"""What a gateway says of a request once it has it: listener, certificate, rule, filters. Words only.

Comes in: a decision about a request. Goes out: the trail with its steps, or how the request ends at the gateway. Not here: the decision
(``gateways/matching.py``), ways of packets (``gateways.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate

from netloom.model.gateways.matching import Action, Decision, Request, matches
from netloom.model.gateways.plan import HeaderChange, Match, PathKind, Plan, Rule, Traffic
from netloom.model.provenance import Source
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail

_MOST_PASSED_BY = 3


def inside(trail: Trail, decision: Decision, request: Request, plan: Plan) -> Trail | Branch:
    """Past everything that the gateway does before it chooses an endpoint."""
    trail = _greeted(trail, decision)
    if decision.status == _BAD and decision.rule is None:
        reason = f"answered with 400: {request.path} has a segment . or .."
        return trail.ends(Outcome.REJECTED, reason, "ask for the path that is meant")
    if decision.listener is None or decision.action is Action.REFUSE:
        what = "the connection is closed" if decision.action is Action.REFUSE else "answered with 404"
        reason = f"{what}: no listener takes {request.sni or 'requests without a host'}"
        return trail.ends(
            Outcome.REJECTED, reason, "see spec.listeners[].hostname, and spec.hostnames of routes"
        )
    source = decision.listener.source
    if decision.stream is not None:
        stream = decision.stream
        return trail.then(Stage.GATEWAY, f"{stream.name} takes the connection as it is", stream.source)
    if decision.rule is None:
        if decision.status == _MISDIRECTED:
            reason = f"answered with 421: {request.host} is another listener's than {request.sni}"
            return trail.ends(Outcome.REJECTED, reason, "", (source,))
        known = "no route is attached for this host" if decision.host is None else "no rule matches"
        hint = "see the parents in the routes' status" if decision.host is None else _rules(decision)
        return trail.ends(Outcome.REJECTED, f"answered with 404: {known}", hint, (source,))
    return _ruled(trail, decision, decision.rule, request)


_BAD, _MISDIRECTED = 400, 421


def _greeted(trail: Trail, decision: Decision) -> Trail:
    """The TLS handshake, where there is one."""
    listener = decision.listener
    if listener is None:
        return trail
    if decision.certificate is not None:
        shown = decision.certificate
        names = ", ".join(shown.names[:3]) or "no name"
        text = (
            f"TLS ends here: certificate for {names}, good until {formatdate(shown.not_after, usegmt=True)}"
        )
        trail = trail.then(Stage.GATEWAY, text, shown.source, listener.source)
        if listener.tls is not None and listener.tls.clients is not None:
            word = "must" if listener.tls.clients.is_required else "may"
            trail = trail.then(Stage.GATEWAY, f"clients {word} show a certificate", listener.source)
    elif decision.stream is not None and decision.stream.hostname:
        trail = trail.then(
            Stage.GATEWAY, "TLS is not ended here: passed on by its server name", listener.source
        )
    return trail


def _ruled(trail: Trail, decision: Decision, rule: Rule, request: Request) -> Trail | Branch:
    trail = trail.then(Stage.GATEWAY, f"{rule.name}: {match_text(rule.match)}", rule.source)
    for other in _passed_by(decision, rule, request):
        text = f"{other.name} would match, too ({match_text(other.match)}), but comes after it"
        trail = trail.then(Stage.LEFT_OUT, text, other.source)
    for text, source in _traffic(rule.traffic, rule.source):
        trail = trail.then(Stage.GATEWAY, text, source)
    sources = (rule.source,)
    match decision.action:
        case Action.REDIRECT:
            reason = f"answered with {decision.status}: sent to {decision.location}"
            return trail.ends(Outcome.DELIVERED, reason, "", sources)
        case Action.PREFLIGHT:
            return trail.ends(Outcome.DELIVERED, "answered by the gateway: a browser's question (CORS)")
        case Action.ANSWER:
            hint = "see the conditions in the route's status"
            return trail.ends(
                Outcome.REJECTED, f"answered with {decision.status}: {_why(rule, decision)}", hint, sources
            )
        case _:
            for text in _filters(rule, decision, request):
                trail = trail.then(Stage.GATEWAY, text, rule.source)
            return trail


def _why(rule: Rule, decision: Decision) -> str:
    if decision.status == 403:
        return "the client is not among those let in"
    return "the rule cannot be done as written" if rule.fault else "no backend can be used"


def _rules(decision: Decision) -> str:
    host = decision.host
    if host is None or not host.rules:
        return ""
    shown = "; ".join(match_text(rule.match) for rule in host.rules[:_MOST_PASSED_BY])
    more = len(host.rules) - _MOST_PASSED_BY
    return f"rules of {host.name or 'any host'}: {shown}{f'; and {more} more' if more > 0 else ''}"


def _passed_by(decision: Decision, rule: Rule, request: Request) -> list[Rule]:
    """Rules that match, too, and stand further back."""
    rules = () if decision.host is None else decision.host.rules
    behind = rules[rules.index(rule) + 1 :] if rule in rules else ()
    found: list[Rule] = []
    for one in behind:
        if len(found) == _MOST_PASSED_BY:
            break
        if matches(one.match, request):
            found.append(one)
    return found


def match_text(match: Match) -> str:
    """A match in words: ``path /cart and below, method GET``."""
    words = {
        PathKind.EXACT: f"path {match.path} exactly",
        PathKind.PREFIX: "any path" if match.path == "/" else f"path {match.path} and below",
        PathKind.REGEX: f"paths like {match.path}",
    }
    parts = [words[match.path_kind]]
    if match.method:
        parts.append(f"method {match.method}")
    for kind, values in (("header", match.headers), ("parameter", match.queries)):
        parts += [f"{kind} {one.name} {'like' if one.is_regex else 'is'} {one.value}" for one in values]
    return ", ".join(parts)


def _filters(rule: Rule, decision: Decision, request: Request) -> Iterator[str]:
    if decision.path != request.path:
        yield f"the backend is asked for {decision.path}"
    if decision.authority != request.host:
        yield f"the backend is asked as {decision.authority}"
    if text := _headers(rule.request):
        yield f"headers of the request: {text}"
    if text := _headers(rule.response):
        yield f"headers of the answer: {text}"
    for mirror in rule.mirrors:
        share = (
            ""
            if mirror.numerator == mirror.denominator
            else f" of {mirror.numerator} in {mirror.denominator}"
        )
        yield f"a copy{share} goes to {mirror.pool}, whose answers nobody reads"
    if rule.request_timeout_s:
        yield f"given up with 504 after {rule.request_timeout_s:g} s"


def _headers(change: HeaderChange) -> str:
    parts = [f"-{name}" for name in change.remove]
    parts += [f"{name}={value}" for name, value in change.set]
    parts += [f"+{name}={value}" for name, value in change.add]
    return ", ".join(parts)


def _traffic(traffic: Traffic, rule: Source) -> Iterator[tuple[str, Source]]:
    source = traffic.source or rule
    if traffic.allow:
        yield f"only {', '.join(map(str, traffic.allow))} is let in", source
    if traffic.rate is not None:
        yield f"at most {traffic.rate.requests} requests in {traffic.rate.period_s} s of one client", source
    if traffic.basic is not None:
        yield "asks for a name and a password", source
    if traffic.jwt is not None:
        yield f"asks for a token ({traffic.jwt.algorithm})", source
    if traffic.external is not None:
        yield f"asks {traffic.external.pool} whether to let it through", source
    if traffic.body_bytes is not None:
        yield f"bodies of more than {traffic.body_bytes} bytes are refused", source
