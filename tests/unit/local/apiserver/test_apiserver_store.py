"""The store: what was acknowledged stays, what failed never was, and how far back a watch can look."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netloom.errors import StorageError
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kinds import CONFIG_MAPS, PODS
from netloom.local.apiserver.status import ApiError
from netloom.local.apiserver.store import Store


def document(name: str, namespace: str = "shop", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "data": data,
    }


def names(store: Store, namespace: str = "", **how: Json) -> list[str]:
    return [r.name for r in store.scan(CONFIG_MAPS, namespace, **how)]


def test_a_document_comes_back_whole_with_its_revision(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    odd = document("a") | {"unheard": {"of": [1, 2.5, None, "ü", 12345678901234567890]}}
    record = store.put(CONFIG_MAPS, odd)
    store.close()
    again = Store(tmp_path / "store.db")
    found = again.get(CONFIG_MAPS, "shop", "a")
    again.close()
    assert found is not None
    assert found.raw == record.raw
    assert found.document()["unheard"] == odd["unheard"]
    assert found.document()["metadata"]["resourceVersion"] == str(record.revision)


def test_revisions_only_grow_also_over_a_restart_after_a_deletion(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    first = store.put(CONFIG_MAPS, document("a"))
    last = store.remove(CONFIG_MAPS, first.document())
    assert last.revision > first.revision > 1
    store.close()
    again = Store(tmp_path / "store.db")
    assert again.revision == last.revision
    assert again.put(CONFIG_MAPS, document("b")).revision == last.revision + 1
    again.close()


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = f"""
import itertools
from netloom.local.apiserver.kinds import CONFIG_MAPS
from netloom.local.apiserver.store import Store
store = Store({str(path)!r})
for number in itertools.count():
    meta = {{"name": f"m{{number}}", "namespace": "shop", "uid": "u"}}
    record = store.put(CONFIG_MAPS, {{"metadata": meta}})
    print(record.name, record.revision, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().split() for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [line.split() for line in process.stdout if line.endswith("\n")]
    store = Store(path)
    for name, revision in acknowledged:
        record = store.get(CONFIG_MAPS, "shop", name)
        assert record is not None
        assert record.revision == int(revision)
    assert store.revision >= int(acknowledged[-1][1])
    store.close()


def test_a_full_disk_refuses_and_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    kept = store.put(CONFIG_MAPS, document("kept"))
    seen: list[str] = []
    store.listen(lambda event: seen.append(event.record.name))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="free some space"):
        store.put(CONFIG_MAPS, document("large", text="x" * 100_000))
    assert store.get(CONFIG_MAPS, "shop", "large") is None
    assert (names(store), store.revision, seen) == (["kept"], kept.revision, [])
    store._db.execute("PRAGMA max_page_count = 100000")
    assert store.put(CONFIG_MAPS, document("large", text="x" * 100_000)).revision == kept.revision + 1
    store.close()


def test_a_read_only_file_refuses_a_removal_and_keeps_the_object(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    record = store.put(CONFIG_MAPS, document("a"))
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StorageError, match="writable"):
        store.remove(CONFIG_MAPS, record.document())
    assert store.get(CONFIG_MAPS, "shop", "a") == record
    store._db.execute("PRAGMA query_only = 0")
    store.remove(CONFIG_MAPS, record.document())
    assert store.get(CONFIG_MAPS, "shop", "a") is None
    store.close()


def test_only_the_owner_reads_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.put(CONFIG_MAPS, document("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    store.close()
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600}
    with pytest.raises(StorageError, match="make the directory exist"):
        Store(tmp_path / "none" / "store.db")


def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    first = Store(tmp_path / "store.db")
    with pytest.raises(StorageError, match="another API server"):
        Store(tmp_path / "store.db")
    first.close()
    Store(tmp_path / "store.db").close()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda path: path.write_bytes(b"no database at all, but long enough to be read as one" * 40),
            "not a store",
        ),
        (
            lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(),
            "format 99",
        ),
        (lambda path: path.mkdir(), "directory"),
    ],
)
def test_what_is_no_store_of_ours_is_refused(tmp_path: Path, make: Json, told: str) -> None:
    make(tmp_path / "store.db")
    with pytest.raises(StorageError, match=told):
        Store(tmp_path / "store.db")


def test_lists_are_sorted_and_go_on_behind_a_key() -> None:
    store = Store(":memory:")
    for namespace, name in (("b", "y"), ("a", "z"), ("b", "x"), ("a", "a"), ("ab", "q")):
        store.put(CONFIG_MAPS, document(name, namespace))
    assert names(store) == ["a", "z", "q", "x", "y"]
    assert names(store, "b") == ["x", "y"]
    assert names(store, "a", after=("a", "a")) == ["z"]
    assert names(store, after=("ab", "q")) == ["x", "y"]
    assert names(store, "nowhere") == []
    assert list(store.scan(PODS)) == []
    store.close()


def test_the_past_is_shown_as_it_was() -> None:
    store = Store(":memory:")
    store.put(CONFIG_MAPS, document("a", text="old"))
    gone = store.put(CONFIG_MAPS, document("gone"))
    then = store.revision
    store.put(CONFIG_MAPS, document("a", text="new"))
    store.remove(CONFIG_MAPS, gone.document())
    store.put(CONFIG_MAPS, document("later"))
    assert names(store) == ["a", "later"]
    assert names(store, at=then) == ["a", "gone"]
    assert next(store.scan(CONFIG_MAPS, at=then)).document()["data"] == {"text": "old"}
    with pytest.raises(ApiError, match="Too large resource version"):
        names(store, at=store.revision + 1)
    store.close()


def test_history_is_bounded_in_number_and_in_bytes_and_says_so() -> None:
    store = Store(":memory:", window=3)
    start = store.revision
    for name in "abcd":
        store.put(CONFIG_MAPS, document(name))
    history = store.history(CONFIG_MAPS)
    assert [e.record.name for e in history.since(start + 1)] == ["b", "c", "d"]
    with pytest.raises(ApiError, match="too old resource version") as gone:
        history.since(start)
    assert (gone.value.code, gone.value.reason) == (410, "Expired")
    store.close()

    narrow = Store(":memory:", window_bytes=1000)
    for name in "abcd":
        narrow.put(CONFIG_MAPS, document(name, text="x" * 600))
    assert [e.record.name for e in narrow.history(CONFIG_MAPS).since(narrow.revision - 1)] == ["d"]
    with pytest.raises(ApiError):
        narrow.history(CONFIG_MAPS).since(narrow.revision - 2)
    narrow.close()


def test_after_a_restart_only_the_present_can_be_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.put(CONFIG_MAPS, document("a"))
    store.close()
    again = Store(tmp_path / "store.db")
    assert again.history(CONFIG_MAPS).since(again.revision) == []
    with pytest.raises(ApiError) as gone:
        again.history(CONFIG_MAPS).since(again.revision - 1)
    assert gone.value.code == 410
    again.close()
