"""A Corefile read into our settings: what it says, what is passed over, what is refused by name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.dns.config import Policy, Rewrite, RewriteKind, Stub, checked
from netloom.dns.corefile import read_corefile
from netloom.errors import UsageError

DEFAULT = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
"""
FILES = {
    "/etc/resolv.conf": "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53%eth0\noptions edns0\n",
    "/etc/hosts.more": "# more\n192.0.2.9 printer.example Printer\n\n",
}


def read(text):
    return read_corefile(text, FILES.__getitem__)


def test_the_file_that_kubeadm_writes():
    reading = read(DEFAULT)
    settings = reading.settings
    assert reading.domains == ("cluster.local",)
    assert settings.upstreams == ("192.0.2.53", "[2001:db8::53]")
    assert settings.policy is Policy.RANDOM
    assert (settings.cache.positive_s, settings.cache.negative_s) == (30, 30)
    assert not settings.stubs
    assert "line 4: health is passed over: the agent answers /healthz" in reading.remarks[1]
    assert checked(settings).others.servers[1].address == "2001:db8::53"


def test_a_domain_of_its_own():
    reading = read(
        DEFAULT
        + "corp.example:53 other.example {\n  errors\n  forward . 10.150.0.1 10.150.0.2:5353 { policy sequential }\n}\n"
    )
    stub = Stub(servers=("10.150.0.1", "10.150.0.2:5353"), policy=Policy.SEQUENTIAL)
    assert reading.settings.stubs == {"corp.example": stub, "other.example": stub}
    assert reading.settings.upstreams == ("192.0.2.53", "[2001:db8::53]")


def test_a_domain_within_a_block_and_names_that_nobody_is_asked_about():
    settings = read(
        ". {\n forward corp.example 192.0.2.7\n forward . 192.0.2.8 {\n except a.example b.example\n }\n}"
    ).settings
    assert settings.stubs == {"corp.example": Stub(servers=("192.0.2.7",), policy=Policy.RANDOM)}
    assert settings.except_domains == ("a.example", "b.example")


def test_servers_over_tls():
    settings = read(
        ". {\n forward . tls://192.0.2.1 tls://192.0.2.2%two.example {\n  tls_servername one.example\n  health_check 5s\n }\n}"
    ).settings
    assert settings.upstreams == ("tls://192.0.2.1#one.example", "tls://192.0.2.2#two.example")
    assert checked(settings).others.servers[0].tls


def test_fixed_names():
    settings = read(
        ". {\n hosts /etc/hosts.more {\n  192.0.2.4 a.example A.Example. b.example\n  2001:db8::4 a.example\n"
        "  ttl 60\n  no_reverse\n  fallthrough\n }\n}"
    ).settings
    assert settings.hosts == {
        "printer.example": ("192.0.2.9",),
        "printer": ("192.0.2.9",),
        "a.example": ("192.0.2.4", "2001:db8::4"),
        "b.example": ("192.0.2.4",),
    }
    assert (settings.hosts_ttl_s, settings.hosts_reverse) == (60, False)


def test_rewritten_names():
    settings = read(
        ". {\n rewrite name old.example new.shop.svc.cluster.local.\n rewrite stop name suffix .old .new answer auto\n"
        ' rewrite name regex "(.*)\\.lab" {1}.corp.example\n}'
    ).settings
    assert settings.rewrites == (
        Rewrite(name="old.example", target="new.shop.svc.cluster.local"),
        Rewrite(name=".old", target=".new", kind=RewriteKind.SUFFIX),
        Rewrite(name="(.*)\\.lab", target="{1}.corp.example", kind=RewriteKind.REGEX),
    )


def test_the_cache():
    cache = read(
        ". {\n cache 3600 {\n success 5000 600\n denial 2500 30\n prefetch 10 1m 10%\n serve_stale 1h30m\n }\n}"
    ).settings.cache
    assert (cache.entries, cache.positive_s, cache.negative_s, cache.stale_s, cache.prefetch) == (
        5000, 600, 30, 5400, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (". {\n template IN A {\n }\n}", 2, "template: templates cannot be had here"),
        (". {\n import other\n}", 2, "import: imports cannot be had here"),
        ("(snippet) {\n errors\n}", 1, "snippets are not read"),
        (". {\n frobnicate\n}", 2, "frobnicate: no plugin that is known here"),
        (". {\n forward .\n}", 2, "forward: says not from where to where"),
        (". {\n forward . 192.0.2.1 {\n  frob\n }\n}", 3, "forward: frob: no option that is known here"),
        (". {\n forward . 192.0.2.1 {\n  policy best\n }\n}", 2, "forward: policy best is not known"),
        (". {\n forward . https://192.0.2.1\n}", 2, "https cannot be had here"),
        (". {\n rewrite continue name a b\n}", 2, "only the first rule that fits"),
        (". {\n rewrite type ANY HINFO\n}", 2, "rewrite type: only names are rewritten here"),
        (". {\n rewrite name a\n}", 2, "rewrite name: says not what becomes of what"),
        (". {\n cache {\n  frob\n }\n}", 3, "cache: frob: no option that is known here"),
        (". {\n cache {\n  serve_stale soon\n }\n}", 3, "soon: no time"),
        (". {\n hosts {\n  frob\n }\n}", 3, "hosts: frob: no option that is known here"),
        (". {\n errors\n", 2, "a block is not closed"),
        (". {\n}\n}", 3, "a closing brace without an opening one"),
        ("{\n}\n", 1, "an opening brace with nothing before it"),
        (". {\n forward . {$UPSTREAM}\n}", 2, "environment variables are not read"),
        ("tls://. {\n}\n", 1, "clients are answered over plain DNS only"),
        (".:dns {\n}\n", 1, "'dns' is no port"),
    ],
)
def test_what_is_refused(text, line, problem):
    with pytest.raises(UsageError) as error:
        read(text)
    assert error.value.problem.startswith(f"Corefile line {line}: ")
    assert problem in error.value.problem


WORDS = st.sampled_from(
    ["{", "}", "\n", " ", '"', "#", "a", ".", "forward ", "hosts ", "cache ", "rewrite ", "1", ":"]
)


@given(st.lists(WORDS, max_size=40).map("".join))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(UsageError):
        checked(read(text).settings)
