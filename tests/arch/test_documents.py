"""What the documents say about the house is so: floors, rooms, modules, commands."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import netloom
from netloom.cli.main import parser

SRC = Path(netloom.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
ROOM_READMES = (
    "agent/servers",
    "announce",
    "announce/bgp",
    "cni",
    "dns",
    "dataplane/nftables",
    "fabric/bgp",
    "fabric/egress",
    "gateway",
    "fabric/hostgw",
    "fabric/l2",
    "fabric/udp",
    "fabric/vxlan",
    "fabric/wireguard",
    "local/apiserver",
    "local/controllers",
    "local/apiserver/custom",
    "local/images",
    "local/runner",
)
SECTIONS = ["Name", "What it does", "Objects and fields", "What is in the kernel", "Examples"]
DOCUMENTS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(SRC.rglob("README.md")),
]


def floors_of_the_contract() -> list[set[str]]:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:floors"]["layers"].split("\n")
    return [{room.strip() for room in layer.split("|")} for layer in layers if layer.strip()]


def floors_of_the_document() -> list[set[str]]:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", text, re.MULTILINE)
    return [set(re.findall(r"`(\w+)`", rooms)) for rooms in rows]


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no git checkout")
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_document_has_the_floors_of_the_contract():
    assert floors_of_the_document() == floors_of_the_contract()


def test_every_room_has_a_floor():
    rooms = {p.name for p in SRC.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    modules = {p.stem for p in SRC.glob("*.py")} - {"__init__", "__main__"}
    assert set().union(*floors_of_the_contract()) | {"testing"} == rooms | modules


@pytest.mark.parametrize("room", ROOM_READMES)
def test_a_room_has_a_page_of_the_usual_form(room: str):
    text = (SRC / room / "README.md").read_text()
    assert text.startswith(f"# {room.rpartition('/')[2]}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_modules_that_a_document_names_exist(path: Path):
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|c|md|sh|ini|toml|txt))`", path.read_text())
    places = [path.parent, ROOT, SRC, SRC / "linux"]
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    # a page speaks of its room's files by their bare names, also of those in a folder of the room
    assert [name for name in missing if "/" in name or not list(path.parent.rglob(name))] == []
    # netloom.io/ is the domain of our annotations and conditions
    for dotted in re.findall(r"\bnetloom(?!\.io/)((?:\.[a-z_]\w*)+)", path.read_text()):
        parts = dotted.strip(".").split(".")
        # the last one or two may be names inside a module
        candidates = [SRC.joinpath(*parts[:n]) for n in range(len(parts), max(len(parts) - 3, 0), -1)]
        assert any(c.is_dir() or c.with_suffix(".py").exists() for c in candidates), dotted


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_that_a_document_shows_are_commands(path: Path):
    shown = re.findall(
        r"^ {0,4}(?:\$ )?(?:\.venv/bin/)?netloom +([a-z].*?)(?:  .*)?$", path.read_text(), re.MULTILINE
    )
    for line in shown:
        words = shlex.split(line, comments=True)
        parser(words).parse_args(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_has_the_targets_that_a_document_names(path: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"`make ([a-z-]+)|^    make ([a-z-]+)", path.read_text(), re.MULTILINE)
    assert {a or b for a, b in named} <= targets


def test_no_file_names_a_machine_or_a_registry():
    # in pieces, so that this file does not name them either; /proc/<pid>/root is no machine's path
    words = re.compile(
        r"(?<![\w}>])/(?:wo" r"rk|ro" r"ot)/|deb\.deb" r"ian\.org|py" r"pi\.org|python" r"hosted\.org"
    )
    found = [
        f"{name}: {word}"
        for name in tracked()
        for word in words.findall((ROOT / name).read_bytes().decode(errors="replace"))
    ]
    assert found == []
