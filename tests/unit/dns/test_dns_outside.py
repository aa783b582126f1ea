"""Names that the configuration itself answers, and where upstream servers come from."""

from __future__ import annotations

import logging

import msgspec
import pytest

from netloom.dns.answers import LATER, Ask, assemble
from netloom.dns.config import OutsideSettings, Rewrite, RewriteKind, checked
from netloom.dns.counters import Counters
from netloom.dns.fixed import FixedNames, RewrittenNames
from netloom.dns.outside import settings_for_outside
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.records import pack
from netloom.dns.servers import Server
from netloom.dns.wire import encode_name, parse_query
from netloom.dns.zone import Zone
from netloom.errors import UsageError
from netloom.model.names.records import RecordSet, RecordType
from netloom.testing.dns_messages import read_reply, write_query

WEB = "web.shop.svc.cluster.local"


def new_zone(*, synced=True):
    prepared = PreparedAnswers(counters=Counters())
    zone = Zone(prepared=prepared)
    if synced:
        soa = "ns.dns.cluster.local hostmaster.cluster.local 1 7200 1800 86400 5"
        records = {
            encode_name("cluster.local"): pack((RecordSet(RecordType.SOA, (soa,), ttl=5),)),
            encode_name(WEB): pack((RecordSet(RecordType.A, ("10.96.0.7",), ttl=5),)),
        }
        zone.replace(1, ["cluster.local"], records)
    return zone


def asked(handler, name, kind="A"):
    query = parse_query(write_query(name, kind))
    said = handler.answer(query, None)
    return (
        said
        if said is None or said is LATER or isinstance(said, Ask)
        else read_reply(assemble(query, said, 512))
    )


def fixed(**settings):
    found = checked(OutsideSettings(**settings))
    return FixedNames(found.hosts, ttl_s=found.settings.hosts_ttl_s, reverse=found.settings.hosts_reverse)


HOSTS = {"Printer.Example": ("192.0.2.9", "2001:db8::9"), "lp.example.": ("192.0.2.9",)}


def test_fixed_names_have_their_addresses_and_nothing_else():
    handler = fixed(hosts=HOSTS, hosts_ttl_s=60)
    reply = asked(handler, "PRINTER.example.")
    assert reply.answers == ("PRINTER.example. 60 A 192.0.2.9",)
    assert "aa" in reply.flags
    assert asked(handler, "printer.example.", "AAAA").answers == ("printer.example. 60 AAAA 2001:db8::9",)
    other = asked(handler, "printer.example.", "TXT")
    assert (other.rcode, other.answers) == ("NOERROR", ())
    assert asked(handler, "other.example.") is None


def test_addresses_lead_back_to_the_first_name():
    reply = asked(fixed(hosts=HOSTS), "9.2.0.192.in-addr.arpa.", "PTR")
    assert reply.answers == ("9.2.0.192.in-addr.arpa. 3600 PTR printer.example.",)
    assert asked(fixed(hosts=HOSTS, hosts_reverse=False), "9.2.0.192.in-addr.arpa.", "PTR") is None


def rewritten(*rewrites, synced=True):
    zone = new_zone(synced=synced)
    return RewrittenNames(zone=zone, rewrites=checked(OutsideSettings(rewrites=rewrites)).rewrites)


def test_a_name_of_the_cluster_under_another_name():
    handler = rewritten(Rewrite(name="old.example", target=WEB))
    assert asked(handler, "OLD.example.").answers == ("OLD.example. 5 A 10.96.0.7",)
    assert asked(handler, "old.example.", "AAAA").rcode == "NOERROR"
    assert asked(handler, "older.example.") is None
    assert asked(rewritten(Rewrite(name="old.example", target=WEB), synced=False), "old.example.") is LATER


@pytest.mark.parametrize(
    ("rewrite", "name", "target"),
    [
        (Rewrite(name="a.example", target="b.example"), "A.example.", "b.example"),
        (Rewrite(name="old-", target="new-", kind=RewriteKind.PREFIX), "old-a.example.", "new-a.example"),
        (Rewrite(name=".lab", target=".corp.example", kind=RewriteKind.SUFFIX), "db.lab.", "db.corp.example"),
        (Rewrite(name=".eu.", target=".us.", kind=RewriteKind.SUBSTRING), "a.eu.example.", "a.us.example"),
        (
            Rewrite(name=r"^(.+)-(\d)\.example$", target="{2}.{1}.example", kind=RewriteKind.REGEX),
            "db-1.example.",
            "1.db.example",
        ),
    ],
)
def test_a_name_outside_is_asked_for_by_its_other_name(rewrite, name, target):
    said = asked(rewritten(rewrite), name)
    assert isinstance(said, Ask)
    assert (said.name, said.owner) == (encode_name(target), parse_query(write_query(name)).name)


def test_the_first_rewrite_that_fits_counts_and_a_target_that_is_no_name_is_servfail():
    first, second = (
        Rewrite(name="a.example", target="b.example"),
        Rewrite(name="a.example", target="c.example"),
    )
    assert asked(rewritten(first, second), "a.example.").name == encode_name("b.example")
    broken = Rewrite(name="a", target="x" * 70, kind=RewriteKind.PREFIX)
    assert asked(rewritten(broken), "a.example.").rcode == "SERVFAIL"
    same = Rewrite(name="a.example", target="a.example")
    assert asked(rewritten(same), "a.example.") is None


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"upstreams": ("x",)}, "dns: upstreams: upstream 'x'"),
        ({"stubs": {"a..b": {"servers": ()}}}, "dns: stubs[a..b]"),
        ({"stubs": {"a": {"servers": ("x",)}}}, "dns: stubs[a].servers"),
        ({"hosts": {"a": ("x",)}}, "dns: hosts[a]"),
        ({"rewrites": ({"name": "(", "target": "b", "kind": "regex"},)}, "dns: rewrites[0].name"),
        ({"attempt_s": 0}, "dns: attempt_s"),
        ({"cache": {"entries": -1}}, "dns: cache.entries"),
    ],
)
def test_what_is_wrong_is_named(settings, field):
    with pytest.raises(UsageError) as error:
        checked(msgspec.convert(settings, OutsideSettings))
    assert error.value.problem.startswith(field)


def test_the_nodes_own_resolvers_are_asked_where_nobody_says_otherwise(tmp_path, caplog):
    def servers(**settings):
        given = {"corefile": "", "node_resolvers": ("192.0.2.53",), "own": ("10.96.0.10",), **settings}
        return settings_for_outside(given.pop("settings", OutsideSettings()), **given).others.servers

    assert servers() == (Server("192.0.2.53"),)
    assert servers(settings=OutsideSettings(upstreams=("192.0.2.1",))) == (Server("192.0.2.1"),)
    path = tmp_path / "Corefile"
    path.write_text(". {\n errors\n forward . /etc/resolv.conf 192.0.2.2\n}\n")
    with caplog.at_level(logging.INFO):
        assert servers(corefile=str(path)) == (Server("192.0.2.53"), Server("192.0.2.2"))
    assert "errors is passed over" in caplog.text
    with pytest.raises(UsageError, match="is this server itself"):
        servers(node_resolvers=("10.96.0.10",))
    with pytest.raises(UsageError, match="No such file"):
        servers(corefile=str(tmp_path / "none"))
