"""A stand-in for GitLab's API, for the demo alone: `python -m tokens.targets.demo.api FOLDER DESCRIPTOR PORT`.

It is no GitLab. It answers GET /api/v4/personal_access_tokens/self as GitLab does, which is what a rotation asks, and
knows nothing else: a token is looked up by its digest in the demo's database, then GitLab's order counts
(lib/gitlab/auth/auth_finders.rb): expired, revoked, the owner's state.

It listens on 127.0.0.1 alone, reads by a role that may read these columns only, and runs as the account of
the demo's PostgreSQL where root starts it. What starts and ends it is `stand_in`.
"""

import json
import os
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokens.address import Address
from tokens.database import connect, reading
from tokens.errors import TokensError
from tokens.gitlab.digest import Keys
from tokens.secret import Secret
from tokens.targets import demo
from tokens.targets.demo.embedded import SUPERUSER, Server
from tokens.targets.demo.programs import unprivileged_account
from tokens.targets.demo.secrets import secrets_file
from tokens.targets.here.secrets import read_keys_file

PATH = "/api/v4/personal_access_tokens/self"
HOST = "127.0.0.1"
ROLE = "demo_api"
POLL = 5.0  # seconds after which a demo whose folder is gone is noticed

ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %(role)s)"
PRIVILEGES = (
    f"ALTER ROLE {ROLE} SET default_transaction_read_only = on",
    f"""
    GRANT SELECT (
      id, user_id, name, description, scopes, created_at, last_used_at, expires_at, revoked, token_digest
    ) ON public.personal_access_tokens TO {ROLE}
    """,
    f"GRANT SELECT (id, state) ON public.users TO {ROLE}",
)

LOOK_UP = """
    SELECT
      t.id,
      t.name,
      coalesce(t.revoked, false) AS revoked,
      to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
      t.description,
      t.scopes,
      t.user_id,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS last_used_at,
      t.expires_at::text AS expires_at,
      coalesce(t.expires_at <= (now() AT TIME ZONE 'UTC')::date, false) AS expired,
      u.state
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    WHERE t.token_digest = ANY (CAST(%(digests)s AS text[]))
"""

Answer = tuple[int, dict[str, Any]]
UNKNOWN: Answer = (401, {"message": "401 Unauthorized"})


def answer(address: Address, keys: Keys, path: str, token: str | None) -> Answer:
    """What GitLab answers to a request for `path` with this token: status and document."""
    if path.partition("?")[0] != PATH:
        return 404, {"error": "404 Not Found", "message": f"The demo's stand-in for GitLab knows {PATH} alone."}
    if not token:
        return UNKNOWN
    with reading(address) as connection:
        rows = connection.rows(LOOK_UP, digests=list(keys.digests(Secret(token))))
    if not rows:
        return UNKNOWN
    found = rows[0]._asdict()
    expired, state = found.pop("expired"), found.pop("state")
    if expired:
        return _invalid("Token is expired. You can either do re-authorization or token refresh.")
    if found["revoked"]:
        return _invalid("Token was revoked. You have to re-authorize from the user.")
    if state != "active":
        return 403, {"message": "403 Forbidden - Your account has been blocked."}
    scopes = re.findall(r"""^[ \t]*-[ \t]+:?["']?([^"'\s]+)""", found["scopes"], re.MULTILINE)  # of YAML
    return 200, {**found, "scopes": scopes, "active": True}


def _invalid(description: str) -> Answer:
    return 401, {"error": "invalid_token", "error_description": description}


class _Request(BaseHTTPRequestHandler):
    server: "_Server"
    timeout = 10  # seconds
    server_version, sys_version = "gitlab-tokens-demo", ""

    def do_GET(self) -> None:
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        token = self.headers.get("PRIVATE-TOKEN") or bearer
        try:
            status, document = answer(self.server.database, self.server.keys, self.path, token)
        except TokensError:  # the demo's database is stopped, or being made again
            status, document = 503, {"message": "503 Service Unavailable"}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nothing: there is no reader."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_port = False  # another process could answer on this very port

    def __init__(self, port: int, database: Address, keys: Keys, descriptor: int) -> None:
        self.database = database
        self.keys = keys
        self._descriptor = descriptor
        super().__init__((HOST, port), _Request)

    def server_bind(self) -> None:
        """Without the base's look-up of this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def service_actions(self) -> None:
        if os.fstat(self._descriptor).st_nlink == 0:
            os._exit(0)

    def handle_error(self, *words: object) -> None:
        """Nothing: clients that hang up are no fault."""


def main(folder: Path, descriptor: int, port: int) -> None:
    """Serve until a signal ends it; returns in the parent as soon as the child can be asked.

    Args:
        folder: the demo's.
        descriptor: of the file that says where it listens; it is locked as long as this process lives.
        port: the one that it had before, 0 for any. Where somebody else has it, another one is taken.
    """
    database = Server(folder).address(demo.DATABASE, ROLE, shown=demo.SHOWN)
    keys = read_keys_file(secrets_file(folder))
    _grant(folder)
    answer(database, keys, PATH, "none")  # all that is imported only by the first answer
    try:
        server = _Server(port, database, keys, descriptor)
    except OSError:
        server = _Server(0, database, keys, descriptor)
    if (account := unprivileged_account()) is not None:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    os.pwrite(descriptor, f"{os.getpgrp()} {server.server_port}\n".encode(), 0)
    if os.fork() == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        server.serve_forever(POLL)


def _grant(folder: Path) -> None:
    superuser = Server(folder).address(demo.DATABASE, SUPERUSER, shown=demo.SHOWN)
    with connect(superuser) as connection, connection.transaction():
        if not connection.row(ROLE_EXISTS, role=ROLE)[0]:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN")
        for statement in PRIVILEGES:
            connection.execute(statement)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except (TokensError, OSError) as error:
        raise SystemExit(str(error)) from None
