"""Sends and listens in pods from before they have an interface; a program that tests/cluster/test_policy_start.py runs.

Arguments: how the pods' names begin, how many there will be, and addresses to send to. It enters the network namespace of every
such pod as soon as that exists, opens its sockets there, and then sends as fast as it can, numbered UDP packets and now and then a
TCP SYN. In the same namespaces it sees every packet that arrives. It answers each line that it is told with one line of facts.
"""

import ctypes
import json
import os
import select
import socket
import sys
import time

PORT = 9999
PREFIX, WANTED, TARGETS = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
OUTGOING = 4
_setns = ctypes.CDLL(None, use_errno=True).setns


def tell(fact):
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def enter(fd):
    if _setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Pod:
    """One namespace: what left it, and what came."""

    def __init__(self, name, netns):
        self.name, self.netns = name, netns
        self.tried = 0
        self.refused_before = 0
        self.sent = 0
        self.first_sent = None
        self.first_at = None
        self.came = {}
        enter(netns)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.sniffer.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.sniffer.setblocking(False)

    def send(self):
        for target in TARGETS:
            self.tried += 1
            word = f"{self.name} {self.tried}".encode()
            if self.tried % 8 == 0:
                self.connect(TARGETS[self.tried // 8 % len(TARGETS)])
            try:
                self.udp.sendto(word, (target, PORT))
            except OSError:
                self.refused_before += self.first_sent is None
                continue
            self.sent += 1
            if self.first_sent is None:
                self.first_sent, self.first_at = self.tried, time.monotonic()

    def connect(self, target):
        enter(self.netns)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as tcp:
            tcp.connect_ex((target, PORT))

    def listen(self):
        """Counts what arrived, by what it is: the sender's word, or a TCP SYN and who sends it."""
        while True:
            try:
                data, place = self.sniffer.recvfrom(2048)
            except OSError:
                return
            if place[2] == OUTGOING or len(data) < 24 or data[0] >> 4 != 4:
                continue
            head = (data[0] & 15) * 4
            protocol, source = data[9], socket.inet_ntoa(data[12:16])
            if protocol not in (6, 17) or int.from_bytes(data[head + 2 : head + 4]) != PORT:
                continue
            if protocol == 17:
                name, _, number = data[head + 8 :].decode(errors="replace").partition(" ")
                what, number = f"udp {name}", int(number)
            else:
                what, number = f"tcp {source}", 0
            count, first, _ = self.came.get(what, (0, number, 0.0))
            self.came[what] = (
                count + 1,
                min(first, number),
                self.came.get(what, (0, 0, time.monotonic()))[2],
            )

    def facts(self):
        return {
            "tried": self.tried,
            "refused_before": self.refused_before,
            "sent": self.sent,
            "first_sent": self.first_sent,
            "first_at": self.first_at,
            "came": self.came,
        }


def found(seen):
    """New pods of this name that have a namespace of their own, in whatever cluster this process is a part of."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or entry in seen:
            continue
        try:
            with open(f"/proc/{entry}/comm") as file:
                name = file.read().strip()
            if name == "catatonit":
                with open(f"/proc/{entry}/root/etc/hostname") as file:
                    name = file.read().strip()
                netns = os.open(f"/proc/{entry}/ns/net", os.O_RDONLY) if name.startswith(PREFIX) else None
            elif name.startswith(("python", "netloom", "nl-")) or not name:
                continue  # it may become one: a fork before its exec
            else:
                netns = None
        except OSError:
            continue
        seen.add(entry)
        if netns is not None:
            yield Pod(name, netns)


def main():
    pods, seen = {}, set()
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    tell("ready")
    turn = 0
    while True:
        if len(pods) < WANTED:
            for pod in found(seen):
                pods[pod.name] = pod
                tell(pod.name)
        for pod in pods.values():
            pod.send()
            pod.listen()
        turn += 1
        if (turn % 16 == 0 or not TARGETS) and poll.poll(0 if TARGETS else 1):
            if not sys.stdin.readline():
                return
            for pod in pods.values():
                pod.listen()
            tell({pod.name: pod.facts() for pod in pods.values()})


main()
