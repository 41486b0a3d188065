"""A real standby: analyze works, edit refuses."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import make_tokens
from tokens.address import Address
from tokens.analysis import analyze
from tokens.engine import make_engine
from tokens.errors import Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.plan import make_plan, read_current_policy
from tokens.selection import Selection
from tokens.targets.demo.embedded import Server
from tokens.upgrade import Branch, upgrade


@pytest.fixture(scope="module")
def standby() -> Iterator[Address]:
    """A server that replays what a primary wrote, and takes no changes."""
    folder = Path(tempfile.mkdtemp(prefix="tokens-"))
    folder.chmod(0o755)
    primary = Server(folder / "primary", settings={"fsync": "off"})
    primary.start()
    try:
        upgrade(primary.address("postgres"), Branch.GITLAB)
        with make_engine(primary.address("postgres")).begin() as connection:
            make_tokens(connection, 3, expires_at="2024-06-15")
        primary.stop()
        replica = Server(folder / "standby", settings={"fsync": "off"})
        replica.folder.mkdir()
        data, copy = primary.folder / "data", replica.folder / "data"
        shutil.copytree(data, copy)
        (copy / "standby.signal").touch()
        (replica.folder / "lock").touch()
        owner = data.stat()
        for path in [copy, *copy.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)
        replica.start()
        yield replica.address("postgres")
        replica.stop()
    finally:
        primary.stop()
        shutil.rmtree(folder)


def test_analyze_works_on_a_standby(standby: Address) -> None:
    assert analyze(standby).dates[0].tokens == 3


def test_a_change_is_refused_on_a_standby(standby: Address) -> None:
    with pytest.raises(Refused, match=r"a standby .* run this on the primary"):
        read_current_policy(standby)
    with pytest.raises(Refused, match="takes no changes"):
        make_plan(standby, Selection(ExpirationDate.typed("2024-06-15")), None)
