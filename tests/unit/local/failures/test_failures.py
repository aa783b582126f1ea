"""What is decided about failures: whose a process is, which packets vanish, what words mean; and process 1 that is asked while it waits."""

import os
import signal
import socket
import threading

import pytest

from netloom.cli import main
from netloom.cli.link import milliseconds
from netloom.clock import SystemClock
from netloom.errors import KernelError, Unavailable, UsageError
from netloom.linux import libc
from netloom.linux.process_table import Entry, belonging
from netloom.linux.tc import impairment_request, is_missing
from netloom.local.failures import call
from netloom.local.failures.cables import render
from netloom.local.failures.desk import Desk
from netloom.local.failures.words import Delay, Look, State, Switch, encode
from netloom.local.init import Child, Init
from netloom.local.paths import ClusterPaths
from netloom.local.refusal import Failed, Refused
from netloom.program.tc import Impairment

CLUSTER, NODE, OTHER, POD, POD_OF_OTHER = 1, 11, 12, 21, 22


def test_a_machine_is_its_processes_and_all_that_live_with_them():
    found = [
        Entry(1, 0, CLUSTER),
        Entry(2, 1, CLUSTER),  # the API server
        Entry(10, 1, NODE),  # the runner
        Entry(11, 1, CLUSTER),  # another root that has not entered its namespace yet
        Entry(12, 1, POD),  # holds a pod; its runner died long ago
        Entry(13, 1, POD),  # a container in it
        Entry(14, 10, 99),  # being made: in a namespace that nobody has heard of
        Entry(15, 1, 99),
        Entry(16, 1, NODE),  # on the node's own network
        Entry(30, 1, OTHER),
        Entry(31, 30, POD_OF_OTHER),
        Entry(32, 1, 0),  # cannot be seen
    ]
    mine = belonging(found, roots=(10, 11, 12, 77), nets=(NODE,), foreign=CLUSTER)
    assert mine == {10, 11, 12, 13, 14, 15, 16}


def test_nothing_is_a_machine_of_nobody():
    assert belonging([Entry(1, 0, CLUSTER), Entry(2, 1, 0)], roots=(), nets=(NODE,), foreign=CLUSTER) == set()


def test_both_ways_between_two_nodes_are_closed_and_no_other():
    text = render([("node-1", "node-2"), ("node-1", "node-3")])
    drops = {line for line in text.splitlines() if line.endswith("drop")}
    assert drops == {
        'oifname "node-2" meta mark 1 drop',
        'oifname "node-1" meta mark 2 drop',
        'oifname "node-3" meta mark 1 drop',
        'oifname "node-1" meta mark 3 drop',
    }
    assert render([]).splitlines() == ["table bridge netloom-links", "delete table bridge netloom-links"]


def test_a_time_may_have_a_unit():
    assert [milliseconds(t) for t in ("50", "50ms", "1.5s", "800us", "0")] == [50, 50, 1500, 0.8, 0]
    for text in ("", "-1ms", "1m", "61s", "1e3", "nan"):
        with pytest.raises(UsageError, match="no usable time"):
            milliseconds(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["node", "stop"], "which node"),
        (["node", "ls", "node-1"], "all nodes"),
        (["link", "cut"], "not what it takes"),
        (["link", "cut", "a", "b", "c"], "not what it takes"),
        (["link", "delay", "node-1"], "name the node and the time"),
        (["link", "delay", "node-1", "soon"], "no usable time"),
        (["link", "delay", "node-1", "5ms", "--loss", "101"], "no share"),
        (["link", "break", "node-1"], "invalid choice"),
    ],
)
def test_a_wrong_word_is_named(words, said, capsys):
    assert main.main(words) == 2
    assert said in capsys.readouterr().err


def test_a_bad_line_is_told_to_the_kernel_in_its_units():
    line = Impairment(delay_ns=50_000_000, jitter_ns=640, loss=0.5, queue=7)
    body = impairment_request(3, line).body
    assert (50_000_000 // 64).to_bytes(4, "little") + (7).to_bytes(4, "little") in body
    assert (50_000_000).to_bytes(8, "little") in body
    assert (640).to_bytes(8, "little") in body
    assert is_missing(KernelError("x", 2, "no"))
    assert not is_missing(KernelError("x", 1, "no"))


def test_a_delay_reads_as_people_say_it():
    assert str(Delay(50)) == "50 ms"
    assert str(Delay(50, 10, 1.5)) == "50 ms +- 10 ms, 1.5 % lost"


class Clerk:
    """Answers at a desk, and has process 1 keep one child more or fewer."""

    def __init__(self, desk, writing):
        self.desk, self.writing = desk, writing

    def let_go(self, child):
        self.desk.close()

    def serve(self, init):
        self.desk.serve(lambda wish: self.answer(wish, init))

    def answer(self, wish, init):
        if isinstance(wish, Switch) and wish.to == "on":
            init.add([Child(wish.node, lambda: self.wait(wish.node))])
        elif isinstance(wish, Switch):
            pids = init.retire([wish.node])
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            while init.retire([wish.node]):
                init.pass_time(5)
            return State(off=(wish.node, *map(str, pids)))
        return State()

    def wait(self, name):
        libc.die_with_parent(os.getppid())
        os.write(self.writing, f"{name} {os.getpid()}\n".encode())
        signal.pause()


@pytest.fixture
def process_one(tmp_path):
    reading, writing = os.pipe()
    paths = ClusterPaths(tmp_path)
    ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            clerk = Clerk(Desk(paths.failures_socket), writing)
            os.write(ready[1], b"1")
            Init(children=[], log_directory=tmp_path, clock=SystemClock(), office=clerk, stop_s=0.3).run()
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    with os.fdopen(reading) as lines:
        yield paths, lines
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for fd in (writing, *ready):
        os.close(fd)


def test_process_1_is_asked_while_it_waits(process_one):
    paths, lines = process_one
    assert call.ask(paths, Look()) == State()
    call.ask(paths, Switch("node-1", "on"))
    name, first = lines.readline().split()
    assert name == "node-1"
    os.kill(int(first), signal.SIGKILL)
    name, second = lines.readline().split()
    assert (name, second != first) == ("node-1", True)  # started again
    state = call.ask(paths, Switch("node-1", "off"))
    assert state.off == ("node-1", second)  # and then not


def test_a_caller_who_says_nothing_or_nonsense_keeps_nobody_waiting(process_one):
    paths, _ = process_one
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(str(paths.failures_socket))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
            odd.connect(str(paths.failures_socket))
            odd.send(b'{"type":"explode"}')
            assert b"no such wish" in odd.recv(4096)
        assert call.ask(paths, Look()) == State()
        silent.send(encode(Look()))
        assert b"state" in silent.recv(4096)


def test_many_may_ask_at_once(process_one):
    paths, _ = process_one
    found = []
    threads = [threading.Thread(target=lambda: found.append(call.ask(paths, Look()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [State()] * 8


def test_nobody_there_is_said(tmp_path):
    with pytest.raises(Unavailable, match="does not answer"):
        call.ask(ClusterPaths(tmp_path), Look())
    assert Refused(Failed("x", "y", 5)).exit_code == 5
