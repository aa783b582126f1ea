"""Images as real producers write them, and from a registry: skopeo's own archives and layouts, and HTTP on localhost."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netloom.errors import Unavailable
from netloom.local.images import pull
from netloom.local.images.limits import BadImage
from netloom.local.images.pull import Wish
from netloom.local.images.store import ImageStore
from netloom.testing import images as made
from netloom.testing.images import Entry, Image

IMAGE = Image(
    layers=(made.layer([Entry(name="a", content=b"1")]), made.layer([Entry(name="b", content=b"2")])),
    config={"Cmd": ["a"]},
)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed: apt-get install skopeo")
    return ImageStore(tmp_path / "images")


@pytest.fixture
def layout(tmp_path: Path) -> str:
    return f"oci:{made.oci_layout(tmp_path / 'layout', IMAGE, ['one'])}:one"


def skopeo(*words: str) -> None:
    subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", *words], check=True, timeout=60)


def files(store: ImageStore, name: str) -> dict[str, str]:
    image = store.find(name)
    assert image is not None
    return {path.name: path.read_text() for path in store.files(image.id).iterdir()}


def test_archives_of_skopeo(store: ImageStore, layout: str, tmp_path: Path):
    skopeo(layout, f"docker-archive:{tmp_path}/d.tar:example.org/d:1")
    skopeo(layout, f"oci-archive:{tmp_path}/o.tar:example.org/o:1")
    store.load(tmp_path / "d.tar", now=1.0)
    store.load(tmp_path / "o.tar", now=1.0)
    for name in ("example.org/d:1", "example.org/o:1"):
        assert files(store, name) == {"a": "1", "b": "2"}


def test_layers_packed_with_zstd(store: ImageStore, layout: str, tmp_path: Path):
    skopeo("--dest-compress-format", "zstd", layout, f"oci:{tmp_path}/z:one")
    if shutil.which("zstd") is None:
        with pytest.raises(BadImage, match="zstd"):
            store.load(tmp_path / "z", names=["z"], now=1.0)
        return
    store.load(tmp_path / "z", names=["z"], now=1.0)
    assert files(store, "z") == {"a": "1", "b": "2"}


def test_a_short_name_finds_what_was_built_here(store: ImageStore, tmp_path: Path):
    store.load(made.docker_archive(tmp_path / "a.tar", IMAGE, ["localhost/app:1"]), now=1.0)
    found = store.find("app:1")
    assert found is not None
    assert store.find("team/app:1") is None
    other = Image(layers=IMAGE.layers[:1])
    store.load(made.docker_archive(tmp_path / "b.tar", other, ["app:1"]), now=1.0)
    nearer = store.find("app:1")
    assert nearer is not None
    assert nearer.id == other.id


@pytest.fixture
def registry() -> Iterator[str]:
    """What a registry says of one image (distribution-spec, pull)."""
    parts = made.oci_parts(IMAGE, [])
    (descriptor,) = msgspec.json.decode(parts["index.json"])["manifests"]
    by_digest = {made.digest(data): data for data in parts.values()}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.removeprefix("/v2/team/app/")
            digest = descriptor["digest"] if name == "manifests/1" else name.rpartition("/")[2]
            data = b"{}" if self.path == "/v2/" else by_digest.get(digest)
            self.send_response(404 if data is None else 200)
            kind = MANIFEST if name.startswith("manifests/") else "application/octet-stream"
            self.send_header("Content-Type", kind if data is not None else "application/json")
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if self.command == "GET" and data is not None:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"127.0.0.1:{server.server_address[1]}/team/app"
    server.shutdown()
    serving.join()
    server.server_close()


async def test_pulling_from_a_registry(store: ImageStore, registry: str):
    (image,) = await pull.pull(store, Wish(f"{registry}:1", ("mine:2",), plain_http=True), now=1.0)
    assert set(image.names) == {f"{registry}:1", "docker.io/library/mine:2"}
    assert files(store, f"{registry}:1") == {"a": "1", "b": "2"}
    with pytest.raises(Unavailable, match="other:1"):
        await pull.pull(store, Wish(f"{registry}/other:1", plain_http=True), now=1.0)
