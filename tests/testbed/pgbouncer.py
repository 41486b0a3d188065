"""A real PgBouncer in front of a database, in transaction mode, as the Linux package configures its own."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tokens.address import Address
from tokens.database.driver import accepts
from tokens.targets.demo.programs import unprivileged_account

PORT = 6432
_START_TIMEOUT = 30  # seconds
_PREPARED_STATEMENTS_SINCE = (1, 21)


def missing() -> str | None:
    """Why there is no PgBouncer here, as the reason to skip; None if there is one."""
    return None if _program() else "there is no pgbouncer here (Debian: pgbouncer)"


@contextmanager
def pgbouncer(
    address: Address, *, pool_size: int = 20, certificate: tuple[Path, Path] | None = None
) -> Iterator[Address]:
    """The same database and role through a PgBouncer of its own, on a Unix socket that everybody may use.

    With a `certificate` and its key it is reached as localhost instead, by TLS only. It asks nobody for a password.
    `pool_size` is how many sessions of the server its clients share: with 1 each of them gets the very session that
    another one had before. Root's PgBouncer runs as the account that the server has.
    """
    folder = Path(tempfile.mkdtemp(prefix="tokens-pgbouncer-"))
    folder.chmod(0o755)
    account = unprivileged_account()
    try:
        port = PORT if certificate is None else _free_port()
        configuration = _configure(folder, address, pool_size, port, certificate)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        # A test run that is killed takes it along.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        log = folder / "pgbouncer.log"
        identity: dict[str, Any] = {}
        if account is not None:
            identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*guard, str(_program()), str(configuration)],
                cwd=folder,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **identity,
            )
        try:
            parameters = conninfo_to_dict(address.conninfo)
            conninfo = make_conninfo(
                host=str(folder), port=port, dbname=parameters["dbname"], user=str(parameters["user"])
            )
            through = Address(conninfo, f"{address.shown} through PgBouncer", complete=True)
            _wait_until_ready(through, process, log)
            if certificate is not None:
                conninfo = make_conninfo(conninfo, host="localhost")
                through = Address(conninfo, f"{address.shown} through PgBouncer by TLS")
            yield through
        finally:
            process.kill()  # since 1.23 anything gentler but SIGQUIT waits until the last client has left
            process.wait()
    finally:
        shutil.rmtree(folder)


def _program() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _configure(
    folder: Path, address: Address, pool_size: int, port: int, certificate: tuple[Path, Path] | None
) -> Path:
    server = conninfo_to_dict(address.conninfo)
    users = folder / "userlist.txt"
    users.write_text(f'"{server["user"]}" ""\n')
    settings = {
        "pool_mode": "transaction",
        "ignore_startup_parameters": "extra_float_digits",
        "default_pool_size": pool_size,
        "max_client_conn": 100,
        "listen_addr": "" if certificate is None else "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": folder,
        "unix_socket_mode": "0777",
        "auth_type": "trust",
        "auth_file": users,
    }
    if _version() >= _PREPARED_STATEMENTS_SINCE:
        settings["max_prepared_statements"] = 0
    if certificate is not None:
        for name, file in zip(("client_tls_cert_file", "client_tls_key_file"), certificate, strict=True):
            settings[name] = folder / file.name
            shutil.copyfile(file, folder / file.name)
            (folder / file.name).chmod(0o644)
        settings["client_tls_sslmode"] = "require"
    place = " ".join(f"{name}={server[name]}" for name in ("host", "port", "dbname", "password") if name in server)
    lines = ["[databases]", f"{server['dbname']} = {place}", "", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    path = folder / "pgbouncer.ini"
    path.write_text("\n".join(lines) + "\n")
    for file in (path, users):
        file.chmod(0o644)
    return path


def _version() -> tuple[int, ...]:
    shown = subprocess.run([str(_program()), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _wait_until_ready(address: Address, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not accepts(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"pgbouncer does not start: {log.read_text(errors='replace')}")
        time.sleep(0.02)
