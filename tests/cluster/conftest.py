"""Whole clusters: each test module that asks for `cluster` shares one; a test that breaks things starts its own.

Clusters live in a directory of the test run and die with it: their supervisor is a child of nobody, so the fixtures end
it, and a session that is killed leaves a name that the next run of the same tests ends first.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NETLOOM = str(Path(sys.executable).with_name("netloom"))


class Command:
    """The netloom command and kubectl, as a user would type them, with a home of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.netloom_path = NETLOOM
        self.environment = {**os.environ, "NETLOOM_HOME": str(home)}

    def netloom(self, *words, check=True, timeout=120):
        return self._run([NETLOOM, *words], check=check, timeout=timeout)

    def up(self, name, *words):
        done = self.netloom("up", "--name", name, "--output", "json", *words)
        return json.loads(done.stdout)

    def down(self, name):
        return self.netloom("down", "--name", name, check=False)

    def kubectl(self, name, *words, check=True, stdin=None, timeout=60):
        kubeconfig = self.home / "clusters" / name / "kubeconfig"
        return self._run(
            [kubectl(), "--kubeconfig", str(kubeconfig), *words], check=check, stdin=stdin, timeout=timeout
        )

    def _run(self, words, *, check, timeout, stdin=None):
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            input=stdin,
            cwd=ROOT,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


def kubectl() -> str:
    """The real kubectl; a test that needs it is skipped, with this reason, only where setup could not get one."""
    for candidate in (os.environ.get("NETLOOM_KUBECTL"), str(ROOT / ".cache" / "bin" / "kubectl")):
        if candidate and Path(candidate).exists():
            return candidate
    pytest.skip("no kubectl 1.30 or newer: this system's packages have none; put one into .cache/bin/kubectl")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    # short: unix sockets live below it
    path = Path("/tmp") / f"netloom-test-{os.getuid()}"
    _end_all(path)
    path.mkdir(mode=0o700)
    yield path
    _end_all(path)


def _end_all(path: Path) -> None:
    if path.exists():
        subprocess.run(
            [NETLOOM, "down", "--all"],
            env={**os.environ, "NETLOOM_HOME": str(path)},
            capture_output=True,
            timeout=120,
        )
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def command(home):
    return Command(home)


@pytest.fixture(scope="session")
def shop(command):
    """The name of a running cluster with the example shop in it; only for tests that leave it as it is."""
    command.down("shop")
    command.up("shop", "-f", "examples/shop")
    yield "shop"
    command.down("shop")


@pytest.fixture(scope="session")
def plain(command):
    """The name of a running three-node cluster with nothing in it; tests use namespaces of their own."""
    command.down("plain")
    command.up("plain")
    yield "plain"
    command.down("plain")
