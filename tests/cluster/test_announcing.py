"""Addresses of load balancers at layer 2: one node answers, and another as soon as it cannot; seen by a client outside."""

import asyncio
import contextlib
import os
import select
import signal
import sys
import time

import msgspec
import pytest

from netloom.cli.speaker import merged
from netloom.errors import Unavailable
from netloom.linux.questions import ask

pytestmark = pytest.mark.cluster

NODES = ("node-1", "node-2", "node-3")
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
PROBE = """
import json, socket, sys, threading, time
address, port = sys.argv[1], int(sys.argv[2])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
worst, last, told = 0.0, None, False
while not ended.is_set():
    try:
        with socket.create_connection((address, port), 0.1):
            now = time.monotonic()
            worst = max(worst, now - (last or now))
            last = now
            if not told:
                told = True
                print(json.dumps({"answers": True}), flush=True)
    except OSError:
        pass
    ended.wait(0.005)
print(json.dumps({"worst": worst, "since": time.monotonic() - (last or 0.0)}), flush=True)
"""
STRANGER = """
import socket, sys
from ipaddress import ip_address
from netloom.announce import arp
name = next(name for _, name in socket.if_nameindex() if name != "lo")
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind((name, arp.ETHERTYPE))
    for frame in arp.announcements(ip_address(sys.argv[1]), bytes.fromhex("02000000dead")):
        sock.send(frame)
"""


@pytest.fixture(scope="module")
def edge(command):
    """Three nodes with both families, and a Service on the first, which has no traffic of load balancers itself."""
    command.down("speak")
    command.up("speak", "--nodes", "3", "--ip-family", "dual")
    place = command.place("speak", "shop")
    place("create", "namespace", "shop")
    place("label", "node", "node-1", f"{EXCLUDED}=")
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "node-1",
                "containers": [{"name": "c", "image": "example/web", "ports": [{"containerPort": 8080}]}],
            },
        }
    )
    place("wait", "pod/web", "--for=condition=Ready", "--timeout=30s")
    place.service("web", type="LoadBalancer", ipFamilyPolicy="RequireDualStack")
    place("wait", "service/web", "--for=jsonpath={.status.loadBalancer.ingress[1].ip}", "--timeout=30s")
    yield place
    place.close()
    command.down("speak")


def addresses(place, name="web"):
    return [one["ip"] for one in place.get("service", name)["status"]["loadBalancer"]["ingress"]]


def status(place):
    """As the command would say, without the time that it takes to start."""
    return asyncio.run(_status(place.command.home / "clusters" / place.cluster / "nodes"))


async def _status(nodes):
    told = {}
    for node in NODES:
        with contextlib.suppress(Unavailable):
            told[node] = await ask(nodes / node / "speaker.sock", "layer2")
    return {one.address: msgspec.json.decode(msgspec.json.encode(one)) for one in merged(told)}


def until(look, seconds=40):
    """What ``look`` gives, once that is something."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, "it did not come to pass"
        select.select([], [], [], 0.05)  # speakers answer questions, and tell of nothing by themselves
    return found


def owner(place, address, *, but=""):
    """The one node that answers, once there is one."""

    def look():
        row = status(place).get(address, {"owners": []})
        is_one = len(row["owners"]) == 1 and row["owners"] != [but] and row["elected"] == row["owners"]
        return row["owners"][0] if is_one else ""

    return until(look)


def outside(place, *words, check=True):
    return place.command.netloom("client", "--name", place.cluster, "--", *words, check=check)


def macs_of(place, address):
    """Who answers three questions, each time."""
    told = outside(place, "arping", "-c", "3", "-w", "5000000", address).stdout
    return [line.split()[3] for line in told.splitlines() if " bytes from " in line]


class Probe:
    """A client outside that connects all the time."""

    def __init__(self, place, address) -> None:
        words = ("client", "--name", place.cluster, "--", sys.executable, "-u", "-c", PROBE, address, "80")
        self._process = place.command.start(place.command.netloom_path, *words)
        place._open.append(self._process)
        self._process.fact(lambda told: "answers" in told)

    def worst(self):
        """The longest time without an answer, in seconds."""
        self._process.close_input()
        return self._process.fact(lambda told: "worst" in told)["worst"]


def cable(place, pid_of, node, word):
    """The other end of a node's interface: what a switch does when a node is gone."""
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    pid = str(pid_of(place.cluster, "nl-init"))
    place.command.run(["nsenter", "--target", pid, *own, "--net", "ip", "link", "set", node, word])


def test_one_node_answers_and_everybody_knows_which(edge):
    for address in addresses(edge):
        name = owner(edge, address)
        assert name in ("node-2", "node-3")
        row = status(edge)[address]
        assert row["candidates"] == ["node-2", "node-3"]
        assert row["users"] == ["shop/web"]
        assert row["interfaces"] == ["eth0"]
        host = f"[{address}]" if ":" in address else address
        assert "web" in outside(edge, "curl", "-sS", "-m", "5", f"http://{host}").stdout


def test_the_command_shows_it(edge):
    for address in addresses(edge):
        owner(edge, address)
    told = edge.command.netloom("speaker", "status", "--name", edge.cluster).stdout
    assert all(address in told for address in addresses(edge))
    assert "Service shop/web: status.loadBalancer.ingress[1].ip" in told
    metrics = edge.command.netloom("speaker", "metrics", "--name", edge.cluster, "--node", "node-1").stdout
    assert 'netloom_speaker_members{state="live"} 2' in metrics


def test_only_one_mac_answers_to_arp(edge):
    address = addresses(edge)[0]
    owner(edge, address)
    macs = macs_of(edge, address)
    assert len(macs) == 3
    assert len(set(macs)) == 1


def test_a_port_that_nobody_serves_is_refused_and_no_packet_goes_round(edge):
    for address in addresses(edge):
        owner(edge, address)
        host = f"[{address}]" if ":" in address else address
        refused = outside(edge, "curl", "-sS", "-m", "5", f"http://{host}:81", check=False)
        assert refused.returncode == 7, refused.stderr  # 28 would be a timeout


@pytest.mark.parametrize("number", [0, 1], ids=["ipv4", "ipv6"])
def test_a_node_that_is_cut_off_is_replaced_within_a_second_or_so(edge, pid_of, number):
    address = addresses(edge)[number]
    first = owner(edge, address)
    probe = Probe(edge, address)
    cable(edge, pid_of, first, "down")
    try:
        seen = until(lambda: {one for one in status(edge)[address]["owners"] if one != first})
        worst = probe.worst()
    finally:
        cable(edge, pid_of, first, "up")
    assert worst < 5.0
    assert owner(edge, address, but=next(iter(seen))) == first


def test_a_speaker_that_is_told_to_end_hands_over_at_once(edge, pid_of):
    address = addresses(edge)[0]
    first = owner(edge, address)
    since = status(edge)[address]["since"]
    probe = Probe(edge, address)
    os.kill(pid_of(edge.cluster, f"nl-{first}-speaker"[:15]), signal.SIGTERM)
    # another has it until this one is back
    until(lambda: owner(edge, address) == first and status(edge)[address]["since"] != since)
    assert probe.worst() < 5.0


def test_a_speaker_that_is_killed_is_back_or_replaced_within_seconds_and_one_mac_answers(edge, kill):
    address = addresses(edge)[0]
    first = owner(edge, address)
    since = status(edge)[address]["since"]
    probe = Probe(edge, address)
    kill(edge.cluster, f"nl-{first}-speaker"[:15])
    until(lambda: owner(edge, address) == first and status(edge)[address]["since"] != since)
    macs = macs_of(edge, address)
    assert probe.worst() < 5.0
    assert len(macs) == 3
    assert len(set(macs)) == 1


def test_an_agent_that_begins_anew_moves_nothing(edge, kill):
    address = addresses(edge)[0]
    first = owner(edge, address)
    since = status(edge)[address]["since"]
    kill(edge.cluster, f"nl-{first}-agent"[:15])
    edge("wait", f"node/{first}", "--for=condition=Ready", "--timeout=30s")
    assert owner(edge, address) == first
    assert abs(status(edge)[address]["since"] - since) < 0.5


def test_a_station_that_answers_too_is_named_in_an_event(edge):
    address = addresses(edge)[0]
    owner(edge, address)
    # frames soon after a takeover may be of before
    until(lambda: time.time() - status(edge)[address]["since"] > 2.0)
    outside(edge, sys.executable, "-c", STRANGER, address)
    query = "involvedObject.name=web,reason=AddressConflict"
    said = f"{address} is answered for by 02:00:00:00:de:ad"
    # tests before this one may have made nodes meet at an address, too
    (event, *_) = until(
        lambda: [e for e in edge.get("events", "--field-selector", query)["items"] if said in e["message"]]
    )
    assert event["involvedObject"]["kind"] == "Service"


def test_a_local_policy_binds_the_address_to_where_the_endpoints_are(edge):
    edge.service("near", type="LoadBalancer", externalTrafficPolicy="Local", selector={"app": "web"})
    edge("wait", "service/near", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "--timeout=30s")
    (address,) = addresses(edge, "near")
    edge("label", "node", "node-1", f"{EXCLUDED}-")
    try:
        assert owner(edge, address) == "node-1"
    finally:
        edge("label", "node", "node-1", f"{EXCLUDED}=")
    until(lambda: not status(edge)[address]["candidates"])
    assert until(lambda: status(edge)[address]["owners"] == [])
    edge("delete", "service", "near")
