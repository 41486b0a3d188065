"""Servers with a data folder that `initdb` made once a run: a copy takes a tenth of the time."""

import subprocess
import zlib
from pathlib import Path

import psycopg

from tests.testbed.shared import once
from tokens.address import Address
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import NEWEST, packaged_binaries


def is_newest(address: Address) -> bool:
    """Whether this is the newest of the servers: what is tried many times there is tried a few times on the others."""
    with psycopg.connect(address.conninfo) as connection:
        return connection.info.server_version // 10_000 == NEWEST


def prepare(server: Server, binaries: Path | None = None) -> Server:
    """Lay a fresh data folder into a server that does not exist yet; `binaries` will start it.

    All that are made so have the same system identifier.
    """
    used = binaries or packaged_binaries()

    def initialise(folder: Path) -> None:
        first = Server(folder / "pg", binaries=used, settings={"fsync": "off"})
        first.start()
        first.stop()

    # A short name: a Unix socket lies below it.
    made = once(f"initdb-{zlib.crc32(bytes(used)):08x}", initialise) / "pg" / "data"
    server.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    (server.folder / "lock").touch()
    subprocess.run(["cp", "-a", made, server.folder / "data"], check=True)
    return server
