"""What people read and what is sent to GitLab's database, word for word, in tests/golden and tests/sql.

A change there is meant to be seen in a review: `pytest tests/test_golden.py --update-golden` writes the files anew.
What differs from call to call stands as <name>: days around today, times, sizes, persons, places.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed import logs
from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_migration_row,
    make_settings,
    make_token,
    make_user,
)
from tests.testbed.gitlab_api import gitlab_api
from tests.testbed.marks import slow_ones
from tests.testbed.pages import MANUAL, Screen, screen
from tests.testbed.screen import Program
from tokens import __version__, origin
from tokens.address import Address
from tokens.gitlab.digest import Keys
from tokens.secret import Secret
from tokens.targets.demo import EXPIRES_AT, population
from tokens.targets.demo.embedded import Server
from tokens.terminal.console import PATIENCE_VARIABLE

pytestmark = pytest.mark.newest_server

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
KEY = "0badcafe" * 16
LEAKED = Secret("glpat-s3cr3t-of-A-bot-0123")

TODAY = datetime.now(UTC).date()
SOON, WEEK_LATER, NEXT_YEAR, TOMORROW = (str(TODAY + timedelta(days)) for days in (20, 27, 300, 1))

PERSON = str(replace(origin.here(), sudo_user=None))

DAYS = {str(TODAY + timedelta(days)): f"<day {days:>+4}>" for days in range(366)}
"""As wide as a date, so that tables stay what they are."""

MOMENT = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|\+00:00|Z)?"
VARYING = (
    (r"PostgreSQL \d+\.\d+", "PostgreSQL <version>"),
    (r"\b\d+ (kB|MB)\b", "<size>"),
    (r"\b\d+\.\d bytes", "<size> bytes"),
    (r"\((Mon|Tue|Wed|Thu|Fri|Sat|Sun), [^)]*\)", "(<how far away>)"),
    (r"in (about )?\d+(\.\d+)? s\b", "in <seconds>"),
    (r"'\d{1,3}ms'", "'<rest>ms'"),  # what is left for numbers that nobody has asked for
)

STATEMENT = re.compile(r"\[\d+\] LOG: +(?:statement|execute [^:]+): (.*(?:\n\t.*)*)$", re.MULTILINE)

Golden = Callable[[str, str], None]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with the file of that name below tests/, or writes it there."""

    def compare(name: str, text: str) -> None:
        path = HERE / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{name} is another one: see tests/test_golden.py"

    return compare


def said(*words: str, stdin: str = "", user: str = "") -> str:
    """What a command prints on both streams, 80 columns wide, and its exit status where that is not 0.

    `user` is who typed it, by sudo; without one it is whoever runs the tests.
    """
    environment = {
        "SUDO_USER": user,
        "COLUMNS": "80",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # what to type next is short then
        "TERM": "dumb",
    }
    done = call_here(str(BIN / words[0]), *words[1:], env=environment, stdin=stdin, merged=True)
    return done.stdout + (f"[{done.returncode}]\n" if done.returncode else "")


def task_names() -> list[str]:
    listed = json.loads(subprocess.run([BIN / "gitlab-tokens", "--list", "-F", "json"], capture_output=True).stdout)

    def names(collection: dict[str, object], prefix: str) -> Iterator[str]:
        for task in collection["tasks"]:  # type: ignore[attr-defined]
            yield prefix + task["name"]
        for below in collection["collections"]:  # type: ignore[attr-defined]
            yield from names(below, f"{prefix}{below['name']}.")

    return sorted(names(listed, ""))


@pytest.mark.parametrize("program", ["inv", "gitlab-tokens"])
def test_the_list_of_tasks(golden: Golden, program: str) -> None:
    golden(f"golden/list-{program}.txt", said(program, "--list"))


def test_the_help_of_every_task(golden: Golden) -> None:
    names = task_names()
    for name in names:
        golden(f"golden/help/{name}.txt", said("gitlab-tokens", name, "--help"))
    assert {path.stem for path in (HERE / "golden/help").iterdir()} == set(names)


def test_the_manuals_screens_of_the_demo(gitlab_database: Address) -> None:
    population.fill(gitlab_database, 15_653, lambda _: None, EXPIRES_AT)
    target = ("--target", url(gitlab_database))
    # The documentation has a hundred times as many on that day, and they widen the line.
    found = said("gitlab-tokens", "analyze", *target)
    found = found.replace("| 2024-06-15      | 15653 |", "| 2024-06-15      | 1565353 |")
    assert found == screen(MANUAL, "inv tokens.analyze ").shown

    selected = ("--expires", "2024-06-10..2024-06-20", "--state", "expired", "--kind", "project,group")
    # The manual's day comes to be in the past; how many memberships end before it depends on how far away it is.
    to = str(TODAY + timedelta(199))
    name = named(gitlab_database)
    shown = screen(MANUAL, "inv tokens.extend ").shown.replace("2027-06-15", to).replace("the demo", name)
    found = said("gitlab-tokens", "extend", *target, *selected, "--to", to, "--dry-run")
    assert Screen("extend", shown).matches(found), found

    shown = screen(MANUAL, "inv tokens.revoke ").shown.replace("the demo", name)
    found = said("gitlab-tokens", "revoke", *target, "--owner-state", "blocked", "--dry-run")
    assert Screen("revoke", shown).matches(found), found


def test_the_manuals_screen_of_doctor(gitlab_database: Address, superuser: Callable[[Address], Address]) -> None:
    said("gitlab-tokens", "journal.install", "--target", url(gitlab_database))
    with psycopg.connect(superuser(gitlab_database).conninfo) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = '60s'").format(database)
        )

    found = said("gitlab-tokens", "doctor", "--target", url(gitlab_database))

    # Nothing is installed beside a bare database, and it is in another place.
    bare = re.compile(r"^OK   (installation|Geo) .*\n", re.M)
    place = re.compile(r"^(OK   connection +).* as role gitlab, PostgreSQL .*$", re.M)
    shown = place.sub(r"\1", bare.sub("", screen(MANUAL, "sudo gitlab-tokens doctor").shown))
    assert Screen("doctor", shown).matches(place.sub(r"\1", found)), found


def test_the_manuals_screen_of_rotate(gitlab_database: Address, tmp_path: Path) -> None:
    said("gitlab-tokens", "journal.install", "--target", url(gitlab_database))
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection)
        make_token(
            connection,
            id=4711,
            user_id=make_user(connection, username="inventory", user_type=13),
            name="GitLab Security Service - Architecture - Inventory",
            description="Vulnerability reports for the dashboard",
            expires_at=TODAY - timedelta(2),
            last_used_at=datetime.now(UTC) - timedelta(3),
        )
        connection.exec_driver_sql("SELECT setval('personal_access_tokens_id_seq', 4801)")
    secrets = tmp_path / "secrets.yml"
    secrets.write_text(json.dumps({"production": {"db_key_base": KEY}}))
    glab = tmp_path / "glab"
    glab.write_text("#!/bin/sh\ncat > /dev/null\n")
    glab.chmod(0o755)
    deliver, after = re.findall("'(glab .*|command:glab .*)'", MANUAL.read_text())[:2]

    with gitlab_api(gitlab_database, Keys.of([KEY])) as api:
        words = ["--service-account", "inventory", "--deliver", deliver, "--after", after]
        words += ["--target", url(gitlab_database), "--secrets-file", str(secrets), "--verify", api.url]
        path = f"{tmp_path}:{os.environ['PATH']}"
        argv = [str(BIN / "gitlab-tokens"), "rotate", *words]
        with Program(argv, env={"PATH": path, PATIENCE_VARIABLE: "600"}, size=(50, 400)) as program:
            program.wait_for("? (y/N)")
            program.press("yes", "enter")
            assert program.wait() == 0
            found = "\n".join(program.lines)

    shown = screen(MANUAL, "gitlab-tokens rotate ").shown
    days = (("2026-11-20", -2), ("2026-11-19", -3), ("2027-11-22", 365))
    for day, after_today in days:
        shown = shown.replace(day, str(TODAY + timedelta(after_today)))
    shown = shown.replace("https://gitlab.example.com", api.url).replace("run 12.", "run 1.")
    # Nothing but its name is known of a bare database.
    shown = shown.replace("gitlab.example.com (target docker:gitlab)", f"{named(gitlab_database)} (GitLab 19.2)")
    weekday = re.compile(r"\((Mon|Tue|Wed|Thu|Fri|Sat|Sun), in 365 days\)")
    found = re.sub(r" in \d+ s\.", " in 3 s.", found)
    assert weekday.sub("(in a year)", found.strip()) == weekday.sub("(in a year)", shown.strip())


def fill(address: Address) -> None:
    """A service account and a bot whose tokens expire soon, and a person with a token that has expired."""
    with make_engine(address).begin() as connection:
        make_migration_row(connection, started_at="2023-06-15 10:20:35+00")
        make_settings(connection)
        owner = make_user(connection, username="inventory", user_type=13)
        soon = TODAY + timedelta(20)
        make_token(connection, user_id=owner, name="nightly", expires_at=soon, expire_notification_delivered=True)
        bot, group = make_user(connection, username="group_1_bot", user_type=6), make_group(connection, path="fleet")
        make_membership(connection, user_id=bot, group_id=group, expires_at=soon)
        for number in range(3):
            digest = {"token_digest": Keys.of([KEY]).digest_with_current(LEAKED)} if number == 2 else {}
            make_token(connection, user_id=bot, name=f"deploy {number}", expires_at=soon, **digest)
        erika = make_user(connection, username="erika")
        make_token(connection, user_id=erika, name="laptop", expires_at=date(2024, 6, 15))


def calls(folder: Path) -> Iterator[tuple[str, ...]]:
    """Every task that asks a database, in an order in which each finds something to do."""
    secrets = folder / "secrets.yml"
    secrets.write_text(json.dumps({"production": {"db_key_base": KEY}}))
    log = logs.plain(folder / "api_json.log", logs.written(logs.population(range(1, 8)), [date(2026, 2, 16)]).lines)
    rotate = ("rotate", "--token", "nightly", "--no-verify", "--secrets-file", str(secrets), "--deliver")
    selected = ("--group", "fleet", "--name", "*", "--scope", "api", "--state", "active,expired")
    yield ("analyze",)
    yield ("analyze", "--output", "json", "--top", "1")
    yield ("analyze", "--output", "csv")
    yield ("doctor",)
    yield ("doctor", "--grants", "night shift")
    yield ("extend", "--expires", SOON, "--to", NEXT_YEAR, "--yes")
    yield ("journal.install",)
    yield ("journal.status",)
    yield ("list", "--wide")
    yield ("list", "--columns", "id,told,created_by", "--sort", "owner", "--first", "2")
    yield ("list", "--output", "csv", "--group", "fleet")
    yield ("forecast", "--sort", "tokens", "--first", "1")
    yield ("breakdown",)
    yield ("used", "--log", str(log), "--name", "*")
    yield ("used", "--log", str(log), "--top-refused")
    yield ("check", "--warn", "30d", "--each")
    yield ("check", "--output", "prometheus", "--file", str(folder / "tokens.prom"))
    yield ("report", "--file", str(folder / "tokens.html"))
    yield ("simulate", "--max-lifetime", "15d", "--nights", "30d")
    uses = [logs.Use(1, 5), logs.Use(2, 3, address="198.51.100.7"), logs.Use(5, 2, refused=logs.Reason.EXPIRED)]
    days = [date(2024, 6, day) for day in (19, 20, 21)]
    of_days = str(logs.plain(folder / "days.log", logs.written(uses, days).lines))
    yield ("list", "--log", of_days, "--state", "active,expired", "--columns", "id,calls,refused,flags")
    yield ("check", "--log", of_days, "--output", "nagios")
    yield ("check", "--log", of_days, "--output", "prometheus", "--file", str(folder / "tokens.prom"))
    yield ("report", "--log", of_days, "--file", str(folder / "tokens.html"))
    yield ("extend", "--log", of_days, "--expires", SOON, "--to", NEXT_YEAR, "--dry-run")
    yield ("extend", "--expires", SOON, *selected, "--by", "7d", "--dry-run")
    yield ("extend", "--expires", SOON, "--to", NEXT_YEAR, "--dry-run", "--output", "json")
    yield ("extend", "--expires", SOON, "--to", TOMORROW, "--yes")
    yield ("extend", "--expires", SOON, "--to", NEXT_YEAR, "--reason", "no outage", "--yes")
    yield ("undo", "--run", "1", "--yes")
    yield ("extend", "--expires", "2024-06-15", "--state", "expired", "--to", NEXT_YEAR, "--plan")
    yield ("apply", "--run", "3", "--yes", "--output", "json")
    yield ("apply", "--run", "3", "--yes")
    yield ("remove", "--expires", SOON, "--kind", "group", "--yes", "--allow", "doomed")
    yield ("list", "--kind", "deploy-token,membership,ssh-key,deploy-key,trigger,runner,secure-file,agent")
    (folder / "leaked.txt").write_text(f"user: inventory\ntoken: {LEAKED.reveal()}\n", encoding="utf-8")
    yield ("whose", "--scan", str(folder / "leaked.txt"), "--secrets-file", str(secrets))
    yield ("history",)
    yield ("history", "--run", "1")
    yield ("history", "--run", "2", "--output", "json")
    yield ("history", "--output", "csv")
    yield (*rotate, f"file:{folder}/token", "--dry-run")
    yield (*rotate, f"file:{folder}/token", "--dry-run", "--log", of_days)
    yield (*rotate, f"file:{folder}/token", "--yes")
    yield ("history", "--run", "5")
    yield ("history", "--run", "5", "--output", "csv")
    yield ("revoke", "--name", "*", "--dry-run")
    yield ("revoke", "--name", "*", "--reason", "they leaked", "--yes")
    yield ("history", "--run", "6")
    yield ("undo", "--run", "6", "--yes")
    yield ("undo", "--run", "6", "--allow", "reviving", "--yes")
    of_erika = ("rotate", "--user", "erika", "--new-owner", "inventory", *rotate[3:], f"file:{folder}/laptop")
    yield (*of_erika, "--dry-run", "--grace", "7d")
    yield (*of_erika, "--yes", "--allow", "no-membership")
    yield ("history", "--run", "8", "--output", "csv")
    yield ("journal.prune", "--before", TOMORROW, "--yes")
    yield ("journal.uninstall", "--yes")


@pytest.mark.parametrize("release", [*slow_ones("16.0"), "19.2"])
def test_what_tasks_say_and_what_they_send(
    gitlab_database_at: Callable[[str], Address],
    superuser: Callable[[Address], Address],
    server: Server,
    golden: Golden,
    release: str,
    tmp_path: Path,
) -> None:
    address = gitlab_database_at(release)
    fill(address)
    log = server.folder / "server.log"
    with psycopg.connect(superuser(address).conninfo) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(database))
        connection.execute(sql.SQL("ALTER ROLE gitlab IN DATABASE {} SET log_statement = 'all'").format(database))
        # Others' code is looked for where others own something.
        connection.execute("CREATE VIEW public.of_others AS SELECT 1 AS one")
        connection.execute("ALTER VIEW public.of_others OWNER TO pg_monitor")
    screens, senders = [], dict[str, dict[str, None]]()  # the tasks that send a statement, in their order
    for words in calls(tmp_path):
        start = log.stat().st_size
        text = said("gitlab-tokens", words[0], "--target", url(address), *words[1:])
        if words == ("history",):  # its columns are as wide as the names of person and host
            text = re.sub("-{3,}", "--", re.sub(" {2,}", " ", text))
        screens.append(constant(f"$ gitlab-tokens {' '.join(words)}\n{text}", address, tmp_path))
        with log.open(encoding="utf-8") as file:
            file.seek(start)
            for statement in STATEMENT.findall(file.read()):
                senders.setdefault(laid_out(constant(statement, address, tmp_path)), {})[words[0]] = None
    golden(f"golden/screens-{release}.txt", "\n".join(screens))
    golden(f"sql/{release}.sql", "\n".join(f"-- {', '.join(by)}\n{one};\n" for one, by in senders.items()))


def test_the_transcript_of_two_people_and_an_auditor(
    gitlab_database: Address, superuser: Callable[[Address], Address], golden: Golden, tmp_path: Path
) -> None:
    """Ada plans, Grace applies, and an auditor has nothing but the grants that `doctor` prints."""
    fill(gitlab_database)
    role, lines = "auditor_with_grants", list[str]()
    auditor = Address(make_conninfo(gitlab_database.conninfo, user=role), gitlab_database.shown)
    evidence = tmp_path / "evidence.ndjson"

    def types(user: str, *words: str, who: Address = gitlab_database) -> str:
        found = said("gitlab-tokens", words[0], "--target", url(who), *words[1:], user=user)
        lines.append(f"{user}$ {shlex.join(['gitlab-tokens', *words])}\n{found}")
        return found

    def checks() -> None:
        program = f"{evidence}.check.py"
        done = subprocess.run([sys.executable, "-I", "-S", program, evidence], capture_output=True, text=True)
        lines.append(f"auditor$ python3 {program} {evidence}\n{done.stdout}{done.stderr}")
        lines[-1] += f"[{done.returncode}]\n" if done.returncode else ""

    def queries(user: str, who: Address, *statements: str) -> None:
        with psycopg.connect(who.conninfo, autocommit=True) as connection:
            for statement in statements:
                try:
                    answer = connection.execute(statement.encode()).statusmessage
                except psycopg.Error as error:
                    answer = f"ERROR:  {error.diag.message_primary}"
                lines.append(f"{user}=> {statement}\n{answer}\n")

    types("ada", "journal.install")
    types("ada", "journal.four-eyes", "--on", "--reason", "audit of 2026")
    types("ada", "extend", "--expires", SOON, "--to", NEXT_YEAR, "--plan", "--reason", "OPS-7")
    types("ada", "apply", "--run", "1", "--yes")
    types("grace", "apply", "--run", "1", "--dry-run")
    types("grace", "apply", "--run", "1", "--yes")
    with psycopg.connect(superuser(gitlab_database).conninfo) as connection:
        create = "DO $$ BEGIN CREATE ROLE {} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        connection.execute(create.format(role).encode())
    types("ada", "doctor", "--grants", role)
    above, *rooms = lines[-1].split("\n-- ")
    grants = next(room for room in rooms if room.startswith("history\n")).strip()
    lines[-1] = f"{above}\n-- ...\n\n-- {grants}\n\n-- ...\n"
    queries("gitlab", gitlab_database, *grants.splitlines()[1:])
    types("auditor", "history", "--run", "1", who=auditor)
    types("auditor", "journal.status", who=auditor)
    types("auditor", "evidence", "--file", str(evidence), who=auditor)
    checks()
    forged = "UPDATE token_tasks.runs SET reason = 'OPS-8' WHERE id = 1"
    queries("auditor", auditor, forged)
    forge = ["sed", "-i", "s/OPS-7/OPS-8/", str(evidence)]
    subprocess.run(forge, check=True)
    lines.append(f"auditor$ {shlex.join(forge)}\n")
    checks()
    queries("gitlab", gitlab_database, forged)
    types("auditor", "journal.status", who=auditor)
    text = constant("\n".join(lines), gitlab_database, tmp_path)
    for user in ("ada", "grace", "auditor"):
        text = text.replace(str(replace(origin.here(), sudo_user=user)), f"<{user}>")
    golden("golden/two-people-and-an-auditor.txt", text)


def named(address: Address) -> str:
    """What a bare database is called."""
    return f"database {conninfo_to_dict(address.conninfo)['dbname']} on {server(address)}"


def server(address: Address) -> str:
    parts = conninfo_to_dict(address.conninfo)
    return f"{parts['host']}:{parts['port']}"


def constant(text: str, address: Address, folder: Path) -> str:
    """The text without what is another in each call."""
    text = re.sub(r"(?!2023-06-15)" + MOMENT, "<time>", text.replace(str(folder), "<folder>"))
    for found in (url(address), address.shown):
        text = text.replace(found, "<target>")
    text = text.replace(server(address), "<server>")
    text = re.sub(r"\d{4}-\d\d-\d\d", lambda found: DAYS.get(found[0], found[0]), text)
    text = text.replace(str(conninfo_to_dict(address.conninfo)["dbname"]), "gitlabhq_production")
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    text = re.sub("[0-9a-f]{64}", "<sha256>", text)
    text = text.replace(PERSON, "<person>").replace(f'"{__version__}"', '"<version>"')
    return re.sub(r'\{\s+"host":[^}]*\}', '"<person>"', text)


def laid_out(statement: str) -> str:
    """As it is written: the server's log indents every further line by a tab."""
    return re.sub(r"\n\t", "\n", statement).strip()
