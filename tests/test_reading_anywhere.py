"""What only reads works on each server and release, on a standby, and as a role that may do nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.testbed import logs
from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_token, make_user
from tests.testbed.marks import slow_ones
from tests.testbed.replication import Replicated
from tokens.address import Address
from tokens.inventory.diagnosis import least_privileges

SOON = datetime.now(UTC).date() + timedelta(5)

CALLS = [
    "list",
    "list --wide --first 5",
    "list --columns id,owner,email,created_by,told --output json",
    "list --output csv",
    "list --group platform --output ids",
    "forecast",
    "forecast --by day --output csv",
    "breakdown",
    "breakdown --output json",
    "check --output prometheus --each",
    "forecast --output ics --group platform",
    "forecast --output html",
    "simulate --block-user jo --by owner",
    "simulate --output json --nights 90d",
    "simulate --output ics --group platform",
    "report --with-emails",
    "report --kind personal,deploy-token,membership,ssh-key",
    "report --only --group platform",
    "used --log {log} --output csv",
    "used --log {log} --output json --by address",
    "list --log {log} --wide --sort=-calls --first 5 --output json",
    "list --log {log} --output csv",
    "check --log {log} --output prometheus",
    "report --log {log}",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A day of GitLab's API log in which the person's token and the bot's are used and refused."""
    uses = [logs.Use(1, 3), logs.Use(2, 3, refused=logs.Reason.EXPIRED)]
    return logs.plain(tmp_path / "api_json.log", logs.written(uses, [SOON]).lines)


def fill(address: Address) -> None:
    """A person's token and a bot's."""
    with make_engine(address).begin() as connection:
        bot = make_user(connection, user_type=6)
        make_membership(connection, user_id=bot, group_id=make_group(connection, path="platform"))
        for owner in (bot, make_user(connection, username="jo")):
            make_token(connection, user_id=owner, expires_at=SOON)


def read_all(address: Address, capsys: pytest.CaptureFixture[str], log: Path) -> None:
    """Every call finds tokens and has nothing to complain about."""
    for call in CALLS:
        assert typed(*call.format(log=log).split(), "--target", url(address)) == 0, call
        printed = capsys.readouterr()
        assert (bool(printed.out), printed.err) == (True, ""), call
    assert typed("check", "--target", url(address)) == 5
    assert capsys.readouterr().out.startswith("TOKENS CRITICAL - 2 tokens stop working")


@pytest.mark.slow
def test_each_server_can_be_read(gitlab_database: Address, capsys: pytest.CaptureFixture[str], log: Path) -> None:
    fill(gitlab_database)
    read_all(gitlab_database, capsys, log)


@pytest.mark.newest_server
@pytest.mark.parametrize("revision", [*slow_ones("16.0"), "19.2"])
def test_the_oldest_and_the_newest_release_can_be_read(
    gitlab_database_at: Callable[[str], Address], revision: str, capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    address = gitlab_database_at(revision)
    fill(address)
    read_all(address, capsys, log)


@pytest.mark.slow
def test_a_standby_can_be_read(replicated: Replicated, capsys: pytest.CaptureFixture[str], log: Path) -> None:
    with replicated.database() as pair:
        fill(pair.primary)
        replicated.catch_up()
        read_all(pair.standby, capsys, log)


@pytest.mark.newest_server
def test_a_role_with_the_printed_grants_and_nothing_else_can_read(
    gitlab_database: Address, superuser: Callable[[Address], Address], capsys: pytest.CaptureFixture[str], log: Path
) -> None:
    fill(gitlab_database)
    administrator = make_engine(superuser(gitlab_database))
    role = sql.Identifier("reader_of_all").as_string()
    with administrator.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    try:
        with administrator.begin() as connection:
            printed = least_privileges(gitlab_database, "reader_of_all")
            for grant in (*printed["list"], *printed["others"]):
                connection.exec_driver_sql(grant)
        read_all(Address(make_conninfo(gitlab_database.conninfo, user="reader_of_all"), "reader"), capsys, log)
    finally:
        with administrator.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
