"""An agent is killed and comes back under load: no connection is lost, and the ruleset sees what has changed and nothing else."""

import os
import signal
import time
from calendar import timegm

import pytest
from tests.cluster.conftest import processes
from tests.cluster.load import end_load, start_load

pytestmark = pytest.mark.cluster

NODE = "node-1"


class Ruleset:
    """The transactions on a node's ruleset, as `nft monitor` tells them."""

    def __init__(self, place):
        (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{NODE}-dns")
        own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self._inside = ["nsenter", "--target", str(pid), *own, "--net"]
        self._command = place.command
        self._monitor = place.command.start(*self._inside, "nft", "monitor")
        place._open.append(self._monitor)
        self._marks = 0
        self._mark(until_heard=True)

    def since_last(self):
        """The transactions since this was asked last, or since the beginning: lines of each."""
        transactions, lines = [], []
        for line in self._mark():
            if line.startswith("# new generation"):
                transactions.append([line, *lines])
                lines = []
            else:
                lines.append(line)
        return transactions

    def _mark(self, *, until_heard=False):
        """Everything up to a transaction of our own."""
        # the monitor may not listen yet: what it has not heard is said again
        for _ in range(50 if until_heard else 1):
            self._marks += 1
            mark = f"mark-{self._marks}"
            self._command._run([*self._inside, "nft", "add", "table", "ip", mark], check=True, timeout=20)
            try:
                lines = self._read_until(mark, timeout=0.2 if until_heard else 20)
            except AssertionError:
                continue
            self._monitor.until("# new generation")
            return lines
        pytest.fail("nft monitor says nothing")

    def _read_until(self, mark, timeout):
        lines = []
        while mark not in (line := self._monitor.line(timeout)):
            if "mark-" not in line:
                lines.append(line)
        return lines


class Told:
    """When the node's agent told last what it has in force."""

    def __init__(self, place):
        words = ("-n", "kube-system", "get", "lease", f"netloom-{NODE}", "--watch", "-o")
        self._watch = place.command.start(
            *place.command.kubectl_words(place.cluster, *words, 'jsonpath={.spec.renewTime}{"\\n"}')
        )
        place._open.append(self._watch)

    def after(self, moment):
        """Returns when it has told something that came in force after this moment."""
        while True:
            text = self._watch.line(60)
            told = timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) + float(text[19:-1])
            if told > moment:
                return


@pytest.fixture
def running(rough_place):
    """A Service under load from the node whose agent goes, and from another."""
    place = rough_place
    place.deploy("web", replicas=2)
    address = place.service("web")["clusterIP"]
    place.command.netloom("wait", "--name", place.cluster, "service/web", "-n", place.namespace)
    scripts = start_load(place, address, [NODE, "node-2"])
    yield place, scripts
    for one in end_load(scripts):
        assert one["failures"] == []
        assert one["short"] > 50
        assert one["long"] > 50


def restarted(place, kill, told):
    kill(place.cluster, f"nl-{NODE}-agent")
    told.after(time.time())


def test_where_nothing_has_changed_the_ruleset_is_not_touched(running, kill):
    place, _ = running
    told, ruleset = Told(place), Ruleset(place)
    for _ in range(3):
        restarted(place, kill, told)
        assert ruleset.since_last() == []


def test_what_has_changed_meanwhile_is_one_transaction(running, kill):
    place, _ = running
    told, ruleset = Told(place), Ruleset(place)
    (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{NODE}-agent")
    os.kill(pid, signal.SIGSTOP)
    place.service("late", selector={"app": "web"})
    place("wait", "endpointslice", "-l", "kubernetes.io/service-name=late", "--for=create", "--timeout=20s")
    assert ruleset.since_last() == []
    restarted(place, kill, told)
    transactions = ruleset.since_last()
    assert len(transactions) == 1
    assert not any("chain" in line for line in transactions[0]), "elements only"
