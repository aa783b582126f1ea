"""What one listener does: the routes that are attached to it, as hosts with rules in order, or as streams.

Comes in: routes with the hosts that they have at this listener. Goes out: hosts or streams, and routes that had to give way. The rules: HTTPRoute
``hostnames`` and ``rules[].matches``, GRPCRoute ``hostnames``. Not here: doors.

A host has all rules of routes whose names cover it, the more special names first: a request is looked for in one host only, the most special. What
stands behind a rule that takes everything is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter

from msgspec.structs import replace

from netloom.model.gateways.attach import Names
from netloom.model.gateways.hostnames import covers, patterns_of, rank, specificity
from netloom.model.gateways.plan import Host, Match, Rule, Stream, Traffic
from netloom.model.gateways.routes import ReadRoute, RouteKey
from netloom.model.gateways.traffic import joined

_EVERYTHING = Match()
_REFUSED = 500
"""A policy that cannot be used fails closed."""


_Ranked = tuple[tuple[object, ...], RouteKey, Rule]
"""What it is sorted by, whose it is, and the rule."""


class Table:
    """The routes of one listener, kept up to date."""

    def __init__(self, *, is_stream: bool, is_tls_ended: bool) -> None:
        self.hosts: tuple[Host, ...] = ()
        self.streams: tuple[Stream, ...] = ()
        self.losers: Mapping[RouteKey, str] = {}
        """Routes that are attached and give way to an older one, and to whom."""
        self._is_stream = is_stream
        self._is_tls_ended = is_tls_ended
        self._attached: dict[RouteKey, Names] = {}
        self._by_name: dict[str, dict[RouteKey, str]] = {}
        """Hosts that listener and route share, with the routes and what they say of them."""
        self._hosts: dict[str, Host] = {}
        self._order: list[str] | None = None
        self._ranked: dict[str, list[_Ranked]] = {}
        """Rules of each host in order, also those that stand behind one for everything."""
        self._moved: set[RouteKey] = set()
        self._traffic: Traffic | str | None = None
        self._dirty: set[str] = set()
        self._is_dirty = True

    @property
    def routes(self) -> Iterable[RouteKey]:
        """All that are attached."""
        return self._attached

    @property
    def count(self) -> int:
        """Routes that are accepted here (Gateway ``status.listeners[].attachedRoutes``)."""
        return len(self._attached) - len(self.losers)

    def is_for(self, *, is_stream: bool, is_tls_ended: bool) -> bool:
        """Whether it is the table of a listener of this kind."""
        return (self._is_stream, self._is_tls_ended) == (is_stream, is_tls_ended)

    def set_traffic(self, traffic: Traffic | str | None) -> None:
        """What TrafficPolicies say of all requests here; a text: why they must be refused."""
        if traffic != self._traffic:
            self._traffic = traffic
            self._dirty.update(self._by_name)
            self._is_dirty = True

    def put(self, key: RouteKey, names: Names) -> None:
        """The route is attached for these hosts, and not what it was before; none: it is gone."""
        self._is_dirty = True
        self._moved.add(key)
        for both, _ in self._attached.pop(key, ()):
            held = self._by_name.get(both, {})
            held.pop(key, None)
            if not held:
                self._by_name.pop(both, None)
                self._order = None
            self._dirty.add(both)
        if not names:
            return
        self._attached[key] = names
        for both, said in names:
            if both not in self._by_name:
                self._by_name[both] = {}
                self._order = None
            held = self._by_name[both]
            if key not in held or rank(said) < rank(held[key]):
                held[key] = said
            self._dirty.add(both)

    def settle(self, routes: Mapping[RouteKey, ReadRoute]) -> bool:
        """Hosts or streams as they are now; whether anything was put since the last time."""
        if not self._is_dirty:
            return False
        self._is_dirty = False
        if self._is_stream:
            self._settle_streams(routes)
        else:
            self._settle_hosts(routes)
        return True

    def _settle_hosts(self, routes: Mapping[RouteKey, ReadRoute]) -> None:
        losers = _exclusive(self._attached, routes)
        for key in losers.keys() ^ self.losers.keys():
            self._moved.add(key)
            self._dirty.update(both for both, _ in self._attached.get(key, ()))
        self.losers = losers
        for name in self._touched():
            if name in self._by_name:
                self._hosts[name] = Host(name, self._rules(name, routes))
            else:
                self._hosts.pop(name, None)
                self._ranked.pop(name, None)
        self._dirty.clear()
        self._moved.clear()
        if self._order is None:
            self._order = sorted(self._by_name, key=_order)
        self.hosts = tuple(self._hosts[name] for name in self._order if self._hosts[name].rules)

    def _touched(self) -> set[str]:
        """Hosts that must be made anew: those that were put, and all that they cover."""
        touched = set(self._dirty)
        wide = [name for name in self._dirty if not name or name.startswith("*")]
        if wide:
            touched.update(n for n in self._by_name if any(covers(one, n) for one in wide))
        return touched

    def _rules(self, host: str, routes: Mapping[RouteKey, ReadRoute]) -> tuple[Rule, ...]:
        ranked = self._ranked.get(host)
        if ranked is None:
            ranked = self._rank(host, None, routes)
        else:
            moved = self._moved
            ranked = [one for one in ranked if one[1] not in moved]
            ranked += self._rank(host, moved, routes)
        ranked.sort(key=itemgetter(0))
        self._ranked[host] = ranked
        rules: list[Rule] = []
        for _, _, rule in ranked:
            rules.append(self._under_policy(rule))
            if rule.match == _EVERYTHING:
                break
        return tuple(rules)

    def _rank(
        self, host: str, wanted: set[RouteKey] | None, routes: Mapping[RouteKey, ReadRoute]
    ) -> list[_Ranked]:
        """Rules of routes that have this host; ``wanted``: of these only."""
        said: dict[RouteKey, str] = {}
        for pattern in patterns_of(host):
            held = self._by_name.get(pattern)
            if held is None:
                continue
            for key in held if wanted is None else wanted & held.keys():
                name = held[key]
                if key not in self.losers and (key not in said or rank(name) < rank(said[key])):
                    said[key] = name
        found: list[_Ranked] = []
        for key, name in said.items():
            route = routes[key]
            of_name, age = rank(name), route.age
            found += [((of_name, one.rank, age, one.place), key, one.rule) for one in route.rules]
        return found

    def _under_policy(self, rule: Rule) -> Rule:
        """With what holds for the whole listener; what is said of the rule itself counts first."""
        if self._traffic is None:
            return rule
        if isinstance(self._traffic, str):
            return replace(rule, fault=rule.fault or _REFUSED)
        return replace(rule, traffic=joined(rule.traffic, self._traffic))

    def _settle_streams(self, routes: Mapping[RouteKey, ReadRoute]) -> None:
        by_age = sorted(self._attached, key=lambda key: routes[key].age)
        taken: dict[str, Stream] = {}
        losers: dict[RouteKey, str] = {}
        holder: dict[str, RouteKey] = {}
        for key in by_age:
            route = routes[key]
            names = [both for both, _ in self._attached[key]]
            free = [name for name in names if name not in taken]
            if not free:
                losers[key] = str(holder[names[0]])
            shares = route.ended_shares if self._is_tls_ended else route.shares
            for name in free:
                taken[name] = Stream(name, shares, str(key), route.source.at("spec.rules[0]"))
                holder[name] = key
        self.losers = losers
        self._dirty.clear()
        self.streams = tuple(taken[name] for name in sorted(taken, key=_order))


def _order(name: str) -> tuple[tuple[int, int, int], str]:
    return specificity(name), name


def _exclusive(
    attached: Mapping[RouteKey, Names], routes: Mapping[RouteKey, ReadRoute]
) -> dict[RouteKey, str]:
    """Routes that give way: an HTTPRoute and a GRPCRoute with a host in common exclude each other, and the older one stays."""
    if len({key.kind for key in attached}) < 2:
        return {}
    held: dict[str, dict[str, RouteKey]] = {}
    """By kind: hosts, each wildcard also as what lies below it, and who has them."""
    losers: dict[RouteKey, str] = {}
    for key in sorted(attached, key=lambda k: routes[k].age):
        names = [both for both, _ in attached[key]]
        rivals = [v for kind, v in held.items() if kind != key.kind]
        rival = next((r for v in rivals for name in names if (r := _holder(v, name)) is not None), None)
        if rival is not None:
            losers[key] = str(rival)
            continue
        own = held.setdefault(key.kind, {})
        for name in names:
            own.setdefault(name, key)
            for above in patterns_of(name):
                own.setdefault(f"<{above}", key)
    return losers


def _holder(held: Mapping[str, RouteKey], name: str) -> RouteKey | None:
    """Who has a host that this name means."""
    above = (held.get(pattern) for pattern in patterns_of(name))
    found = next((key for key in above if key is not None), None)
    is_wide = not name or name.startswith("*")
    return held.get(f"<{name}") if found is None and is_wide else found
