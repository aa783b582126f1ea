"""What tests say inside pods: read as text, followed by a test's own lines, and run by the host's Python in the pod."""

import errno
import json
import select
import socket
import sys
import threading
import time
import urllib.request

ARGUMENTS = sys.argv[1:]


def tell(fact):
    """One line to the test."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def facts(url, timeout=5):
    """What a stand-in says of itself and of us, over a connection of its own."""
    request = urllib.request.Request(url, headers={"accept": "application/json", "connection": "close"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


class Flow:
    """One connection, or one UDP socket, that is kept: each word is answered by one line of facts."""

    def __init__(self, host, port, kind=socket.SOCK_STREAM, timeout=5):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        self.socket.settimeout(timeout)
        self.socket.connect((host, port))

    def ask(self, word="hello\n"):
        self.socket.send(word.encode())
        data = b""
        while not data.endswith(b"\n"):
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionResetError(errno.ECONNRESET, "the peer closed the connection")
            data += more
        return json.loads(data)


def answer_of(host, port, kind=socket.SOCK_STREAM, timeout=5):
    """The pod that answers, or the name of the error, and the seconds that it took."""
    began = time.monotonic()
    try:
        flow = Flow(host, port, kind, timeout)
        said = flow.ask()["pod"]
        flow.socket.close()
    except OSError as error:
        said = errno.errorcode.get(error.errno, type(error).__name__)
    return said, time.monotonic() - began


def until(wanted, ask, seconds=20):
    """Ask again until the answer is as wanted; the last answer, whatever it is."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if wanted(answer) or time.monotonic() > end:
            return answer
        select.select([], [], [], 0.02)


def traffic(ask):
    """Ask on and on, from the first good answer until the test says a line; then tell how often each answer came."""
    stop = threading.Event()
    until(lambda answer: answer[0] != "E", ask)
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    tell("going")
    seen = {}
    while not stop.is_set():
        answer = ask()
        seen[answer] = seen.get(answer, 0) + 1
        select.select([], [], [], 0.002)
    tell(seen)
