"""What BIRD is given and says is for root alone: there may be passwords in it. Sessions and routes are in ``tests/netns``."""

import pytest

from netloom.announce.bgp.bird import Bird
from netloom.errors import Unavailable

SAYS_NO = "#!/bin/sh\necho 'no such thing' >&2\nexit 1\n"


async def test_files_are_for_root_alone_also_where_a_directory_is_open_to_others(tmp_path):
    program, directory = tmp_path / "says-no", tmp_path / "bgp"
    program.write_text(SAYS_NO)
    program.chmod(0o755)
    directory.mkdir()
    directory.chmod(0o755)
    left = directory / "bird.err"
    left.write_text("of another time")
    left.chmod(0o644)
    bird = Bird(directory, on_end=lambda: None, program=str(program))
    try:
        with pytest.raises(Unavailable, match="does not start: no such thing"):
            await bird.bring("", "")
    finally:
        bird.drop()
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (directory, *directory.iterdir())}
    assert modes == {"bgp": "0o700", "bird.conf": "0o600", "bird.err": "0o600"}
