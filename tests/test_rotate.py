"""`rotate` as somebody types it: found, planned, asked; created, verified, delivered, revoked; stopped at every step.

GitLab is the stand-in of testbed/gitlab_api.py, and what it accepts is what counts: of each account, whatever happens,
some token must go on to work, and never two successors of one token.
"""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from tests.testbed.accounts import toolbox
from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_project, make_settings, make_token, make_user
from tests.testbed.gitlab_api import GitLabApi, Reply, Request, gitlab_api
from tests.testbed.journal import assert_that_the_chain_holds
from tests.testbed.marks import slow_ones
from tests.testbed.processes import Gate, ended, process_list, wait_until
from tests.testbed.program import CHECKOUT, GITLAB_TOKENS
from tests.testbed.rotation import CONTENT, TABLES, TOKEN
from tests.testbed.screen import Program
from tests.testbed.servers import Alone
from tests.testbed.syslog import Log
from tokens.address import Address
from tokens.delivery.processes import MARK, still_running
from tokens.errors import ExitStatus
from tokens.gitlab.api import VerificationFailed, verify
from tokens.gitlab.digest import Keys
from tokens.rotation import stage
from tokens.secret import Secret
from tokens.terminal.console import PATIENCE_VARIABLE

# In one worker: a command that delivers is known on this machine by run and token, and many tests here have the same.
pytestmark = pytest.mark.xdist_group("deliveries")

KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])
WRONG = "deadbeef" * 16
TODAY = datetime.now(UTC).date()
SOON = TODAY + timedelta(20)
LATER = TODAY + timedelta(300)
NEXT_YEAR = TODAY + timedelta(365)
OLD = Secret("glpat-old0s3cr3t_old0s3cr3t")
NAME = "GitLab Security Service - Architecture - Inventory"

ROWS = """
    SELECT t.id, t.previous_personal_access_token_id AS previous, t.revoked, CAST(t.expires_at AS text) AS expires_at,
      t.name, t.scopes, t.user_id
    FROM public.personal_access_tokens t ORDER BY t.id
"""
DOUBLES = """
    SELECT count(*) FROM (
      SELECT previous_personal_access_token_id
      FROM public.personal_access_tokens
      WHERE previous_personal_access_token_id IS NOT NULL AND revoked IS NOT TRUE
      GROUP BY 1 HAVING count(*) > 1
    ) doubles
"""
DEAD = """
    SELECT count(*) FROM public.users u
    WHERE u.user_type = 13 AND NOT EXISTS (
      SELECT FROM public.personal_access_tokens t WHERE t.user_id = u.id AND t.revoked IS NOT TRUE
    )
"""


@dataclass
class Instance:
    """A GitLab: its database, its API, its secrets, and the folder that new tokens go to."""

    address: Address
    api: GitLabApi
    folder: Path
    executed: list[str] = field(default_factory=list)

    def command(self, *words: object) -> list[str]:
        """What to type: the target, the secrets and GitLab's URL are added unless `words` have them."""
        return [*self.typed(*words), "--target", url(self.address)]

    def typed(self, *words: object) -> list[str]:
        """The same without the target, which `variables` have."""
        given = list(map(str, words))
        added = {"--secrets-file": self.secrets(), "--verify": self.api.url}
        for name, value in added.items():
            if name not in given and not (name == "--verify" and "--no-verify" in given):
                given += [name, str(value)]
        return [GITLAB_TOKENS, "rotate", *given]

    def run(
        self, *words: object, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it without a terminal, and without a process of its own."""
        return call_here(*self.typed(*words), stdin=stdin, env={**self.variables, **(env or {})})

    def done(self, *words: object) -> str:
        """What it prints where it ends well and complains about nothing."""
        done = self.run(*words, "--yes")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refusal(self, *words: object, status: int, changed: bool = False) -> str:
        """The one line that it ends with; nothing in the database may have changed, unless it is said."""
        before = self.rows()
        done = self.run(*words)
        assert done.returncode == status, done
        (line,) = done.stderr.splitlines()
        assert changed or self.rows() == before
        return line

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Begin it without a terminal."""
        return subprocess.Popen(
            self.typed(*words),
            cwd=CHECKOUT,
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def terminal(self, *words: object) -> Program:
        """Begin it on a terminal."""
        return Program(self.typed(*words), env=self.variables, size=(50, 160))

    @property
    def variables(self) -> dict[str, str]:
        """What says where the database is, and makes what to type next short."""
        path = f"{Path(GITLAB_TOKENS).parent}{os.pathsep}{os.environ['PATH']}"
        return {"INVOKE_TOKENS_TARGET": url(self.address), "PATH": path}

    def secrets(self, keys: object = None) -> Path:
        """A copy of GitLab's secrets."""
        path = self.folder / ("secrets.yml" if keys is None else "other.yml")
        values = [key.reveal() for key in KEYS.values] if keys is None else keys
        path.write_text(json.dumps({"production": {"db_key_base": values}}))
        return path

    def rows(self) -> list[Any]:
        """Every token."""
        with make_engine(self.address).connect() as connection:
            return list(connection.execute(sa.text(ROWS)))

    def value(self, statement: str, **values: object) -> Any:
        """What the database answers."""
        with make_engine(self.address).connect() as connection:
            return connection.execute(sa.text(statement), values).scalar_one()

    def execute(self, *statements: str) -> None:
        """Do something in the database."""
        with make_engine(self.address).begin() as connection:
            for statement in statements:
                self.executed.append(statement)
                connection.execute(sa.text(statement))

    def accepts(self, token: str) -> int | None:
        """The id of the token that GitLab takes this for, None where it takes it for none."""
        try:
            return verify(self.api.url, Secret(token), attempts=1).id
        except VerificationFailed:
            return None

    def check(self) -> None:
        """What must be true whatever has happened."""
        assert self.value(DOUBLES) == 0
        assert self.value(DEAD) == 0

    def everything_stored(self) -> str:
        """The whole database as text."""
        with make_engine(self.address).connect() as connection:
            tables = connection.execute(sa.text(TABLES)).scalars().all()
            contents = [connection.execute(sa.text(CONTENT.format(table))).scalar() for table in tables]
        assert len(tables) > 5
        return " ".join(filter(None, contents))


@pytest.fixture
def gitlab(alone: Alone, tmp_path: Path) -> Iterator[Instance]:
    """On the newest server alone, with a journal; service account `inventory` whose token expires soon."""
    with alone.database(journal=True) as address, gitlab_api(address, KEYS) as api:
        instance = Instance(address, api, tmp_path)
        with make_engine(address).begin() as connection:
            owner = make_user(connection, username="inventory", user_type=13)
            make_token(
                connection,
                user_id=owner,
                name=NAME,
                expires_at=SOON,
                token_digest=KEYS.digest_with_current(OLD),
                description="Reads the inventory",
                last_used_at="2026-06-01 10:00:00+00",
            )
        yield instance
        assert_that_the_chain_holds(address, instance.executed)


def test_a_rotation_has_a_line_in_syslog(gitlab: Instance, syslog: Log) -> None:
    words = ("--service-account", "inventory", "--deliver", f"file:{gitlab.folder}/token", "--yes")
    assert gitlab.run(*words, env=syslog.env).returncode == 0
    line = syslog.line()
    assert "run=1 kind=rotate state=done " in line
    assert " tokens=1 changed=1 changed_meanwhile=0 locked=0 chain=" in line
    assert NAME not in line
    gitlab.execute("UPDATE personal_access_tokens SET expires_at = current_date + 3 WHERE NOT revoked")
    assert gitlab.run(*words, "--force", env={**syslog.env, "INVOKE_TOKENS_SYSLOG_NAMES": "true"}).returncode == 0
    assert syslog.line().endswith(f' names=["inventory: {NAME}"]')


def more_accounts(gitlab: Instance, count: int, **columns: Any) -> list[int]:
    with make_engine(gitlab.address).begin() as connection:
        owners = [make_user(connection, username=f"account{n}", user_type=13) for n in range(count)]
        return [make_token(connection, user_id=owner, **{"expires_at": SOON, **columns}) for owner in owners]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_a_service_accounts_token_is_rotated_in_one_command(gitlab: Instance) -> None:
    path = gitlab.folder / "token"
    shown = gitlab.done("--service-account", "inventory", "--deliver", f"file:{path}")
    old, new = gitlab.rows()
    assert (old.revoked, str(old.expires_at)) == (True, str(SOON))
    assert (new.previous, new.revoked, new.expires_at) == (old.id, False, str(NEXT_YEAR))
    assert (new.name, new.scopes, new.user_id) == (old.name, old.scopes, old.user_id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert gitlab.accepts(path.read_text()) == new.id
    assert gitlab.accepts(OLD.reveal()) is None
    title, plan, rest = shown.split("\n\n", 2)
    assert title.startswith("Plan to rotate 1 token on database ")
    assert [line.replace("|", " ").split() for line in plan.splitlines()[::2]] == [
        ["Account", "Token", "Id", "Scopes", "Expires", "Why", "Last", "used", "New", "date"],
        [
            *("inventory", *NAME.split(), str(old.id), "api", str(SOON)),
            *("expires", "in", "20", "days", "2026-06-01", str(NEXT_YEAR)),
        ],
    ]
    then = f"{NEXT_YEAR} ({NEXT_YEAR:%a}, in 365 days)"
    assert (
        re.sub(r" in \d+ s\.", " in 1 s.", rest)
        == f"""\
Copied:  the description "Reads the inventory"
Verify:  {gitlab.api.url} has to accept the new token
Deliver: file {path}
Revoke:  the old token at once, when the new one is in its place
inventory, "{NAME}" (id {old.id}): the new token has id {new.id} and expires {then}, delivered to file {path}; \
the old one is revoked.

Left to do by hand:
[ ] Every copy of the old token is replaced: CI/CD variables, .env files, hosts.
[ ] The pipelines that failed with the old token were run again, and are green.
[ ] All who work with it know that the new token expires {then}.

Rotated 1 of 1 token in 1 s.
Recorded as run 1.
"""
    )


def test_a_dry_run_needs_no_secrets_and_no_journal_and_makes_nothing(gitlab: Instance) -> None:
    gitlab.execute("DROP SCHEMA token_tasks CASCADE")
    rows, path = gitlab.rows(), gitlab.folder / "token"
    words = ["--token", NAME, "--deliver", f"file:{path}", "--secrets-file", "/nowhere", "--dry-run"]
    words += ["--after", "VAULT_TOKEN=hidden true"]
    done = gitlab.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Plan to rotate 1 token on " in done.stdout
    assert "After:   VAULT_TOKEN=… true" in done.stdout
    document = json.loads(gitlab.run(*words, "--output", "json", "--grace", "7d", "--expires-in", "90d").stdout)
    (rotation,) = document["plan"]["rotations"]
    assert rotation["account"] == "inventory"
    assert rotation["new_expires_at"] == str(TODAY + timedelta(90))
    assert rotation["grace_until"] == str(TODAY + timedelta(7))
    assert document["plan"]["deliver"] == [f"file {path}"]
    assert document["plan"]["after"] == "VAULT_TOKEN=… true"
    assert (gitlab.rows(), gitlab.api.requests, path.exists()) == (rows, 0, False)


def test_a_pipe_gets_the_token_and_nothing_else(gitlab: Instance) -> None:
    done = gitlab.run("--token", NAME, "--deliver", "stdout", "--yes")
    assert done.returncode == 0
    assert re.fullmatch(TOKEN.pattern + "\n", done.stdout)
    assert gitlab.accepts(done.stdout.strip()) == gitlab.rows()[1].id
    assert "Plan to rotate" in done.stderr
    assert "Left to do by hand" in done.stderr
    assert not TOKEN.search(done.stderr)


def test_a_command_gets_the_token_and_another_one_the_facts_at_the_end(gitlab: Instance) -> None:
    vault, facts = gitlab.folder / "vault", gitlab.folder / "facts"
    gitlab.done(
        *("--service-account", "INVENTORY", "--grace", "7d", "--reason", "expires"),
        *("--deliver", f"command:cat > {vault}", "--after", f"env | grep ^TOKENS_ | sort > {facts}"),
    )
    old, new = gitlab.rows()
    assert (old.revoked, old.expires_at) == (False, str(TODAY + timedelta(7)))
    assert gitlab.accepts(vault.read_text()) == new.id
    assert gitlab.accepts(OLD.reveal()) == old.id
    assert facts.read_text().splitlines() == [
        "TOKENS_ACCOUNT=inventory",
        f"TOKENS_EXPIRES_AT={NEXT_YEAR}",
        f"TOKENS_ID={new.id}",
        f"TOKENS_NAME={NAME}",
        f"TOKENS_NAME_SAFE={NAME.replace(' ', '%20')}",
        f"TOKENS_OLD_ID={old.id}",
        "TOKENS_RUN=1",
        "TOKENS_SCOPES=api",
    ]


@pytest.mark.slow
def test_fifty_accounts_are_rotated_at_once_but_for_those_that_cannot_be(gitlab: Instance) -> None:
    ids = more_accounts(gitlab, 50)
    later = more_accounts_of(gitlab, "later", LATER)
    gitlab.execute("UPDATE users SET state = 'blocked' WHERE username = 'account7'")
    done = gitlab.run(
        *("--within", "30d", "--yes", "--output", "json"), "--deliver", f"file:{gitlab.folder}/{{account}}.token"
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert [one["end"] for one in document["results"]] == ["done"] * 50
    assert any("account7" in note["text"] for note in document["plan"]["notes"])
    for one in document["results"]:
        assert gitlab.accepts((gitlab.folder / f"{one['account']}.token").read_text()) == one["successor_id"]
    assert {one.id for one in gitlab.rows() if one.revoked} == {1, *ids} - {ids[7]}
    assert not gitlab.value("SELECT revoked FROM personal_access_tokens WHERE id = :id", id=later)
    assert not TOKEN.search(done.stdout)
    gitlab.check()


def more_accounts_of(gitlab: Instance, username: str, expires_at: object, **columns: Any) -> int:
    with make_engine(gitlab.address).begin() as connection:
        owner = make_user(connection, username=username, user_type=13)
        return make_token(connection, user_id=owner, expires_at=str(expires_at), **columns)


@pytest.mark.slow
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_changed(gitlab: Instance) -> None:
    more_accounts(gitlab, 2)
    with make_engine(gitlab.address).begin() as connection:
        person = make_token(connection, user_id=make_user(connection, username="jane"), expires_at=SOON)
        owner = make_user(connection, username="blocked", user_type=13, state="blocked")
        blocked = make_token(connection, user_id=owner, expires_at=SOON)
        two = make_user(connection, username="two", user_type=13)
        first = make_token(connection, user_id=two, expires_at=SOON)
        second = make_token(connection, user_id=two, expires_at=LATER)
        revoked = make_token(connection, user_id=two, expires_at=SOON, revoked=True, name="gone")
    here = gitlab.folder / "here"
    here.touch()
    to = ("--deliver", f"file:{gitlab.folder}/token")
    yes = ("--yes", *to)
    for words, status, said in (
        (["--yes"], 2, "Choose the tokens"),
        (["--token", NAME, *to], 2, "needs a terminal"),
        (["--token", NAME, "--yes"], 2, "Choose where the new token goes"),
        (["--token", NAME, "--yes", "--deliver", "vault"], 2, "--deliver takes"),
        (["--token", NAME, "--yes", "--deliver", f"file:{here}"], 3, "is there, and is not overwritten"),
        (["--token", NAME, "--yes", "--deliver", f"file:{gitlab.folder}/none/token"], 3, "No file can be made"),
        (["--token", NAME, "--yes", "--deliver", "command:no-such-program"], 2, "which is not on the PATH"),
        (["--token", NAME, *yes, "--after", "no-such-program"], 2, "--after begins with"),
        (["--within", "30d", *yes], 2, "would both go to"),
        (["--within", "30d", "--yes", "--deliver", "stdout"], 2, "gives one token"),
        (["--token", NAME, "--yes", "--output", "json", "--deliver", "stdout"], 2, "never holds a token"),
        (["--token", NAME, *to, "--output", "json"], 2, "asks no question"),
        (["--token", NAME, "--yes", "--deliver", "stdout", "--force"], 2, "--force is about"),
        (["--token", NAME, *yes, "--no-verify", "--verify", gitlab.api.url], 2, "contradict"),
        (["--token", NAME, *yes, "--verify", "http://gitlab.example.com"], 2, "https only"),
        (["--token", NAME, *yes, "--secrets-file", "/nowhere"], 2, "--secrets-file"),
        (["--token", NAME, *yes, "--expires-in", "soon"], 2, "--expires-in takes"),
        (["--token", NAME, *yes, "--grace", "0d"], 2, "--grace takes"),
        (["--token", NAME, *yes, "--kind", "robots"], 2, "--kind takes"),
        (["--token", NAME, *yes, "--kind", "other"], 2, 'group or service-account, not "other".'),
        (["--token", "", *yes], 2, "was given nothing"),
        (["--token", "no such token", *yes], 2, "There is no token"),
        (["--service-account", "nobody", *yes], 2, "nobody"),
        (["--service-account", "two", *yes], 2, f"2 tokens fit ({first} of two, {second} of two)"),
        (["--token", person, *yes], 3, f"Token {person} of jane is of kind personal: use --kind personal"),
        (["--token", blocked, *yes], 3, "is blocked"),
        (["--token", revoked, *yes], 3, "is revoked"),
        (["--token", revoked, *yes, "--state", "active"], 3, "is revoked, which --state does not name: leave"),
        (["--resume", "1", *yes], 2, "There is no run 1"),
        (["--resume", "x", *yes], 2, "--resume takes"),
        (["--resume", "1", "--token", "1", *yes], 2, "leave --token out"),
        (["--token", NAME, *yes, "--target", "docker:gitlab"], 2, "leave --secrets-file out"),
        (["--token", NAME, *yes, "--target", "kubernetes:gitlab"], 2, "leave --secrets-file out"),
    ):
        assert said in gitlab.refusal(*words, status=status), words
    assert sorted(os.listdir(gitlab.folder)) == ["here", "secrets.yml"]
    assert gitlab.api.requests == 0
    gitlab.execute("DROP SCHEMA token_tasks CASCADE")
    assert "gitlab-tokens journal.install" in gitlab.refusal("--token", NAME, *yes, status=3)


def test_without_the_secrets_or_the_url_of_a_bare_database_it_says_which_option_is_missing(gitlab: Instance) -> None:
    command = [GITLAB_TOKENS, "rotate", "--target", url(gitlab.address), "--token", NAME, "--yes"]
    to = ["--deliver", f"file:{gitlab.folder}/token"]
    for words, said in (
        ([*command, *to], "use --verify URL. To continue without that proof use --no-verify, too."),
        ([*command, *to, "--no-verify"], "use --secrets-file"),
    ):
        done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert said in done.stderr
    assert len(gitlab.rows()) == 1


def test_yes_and_no_verify_together_go_without_proof(gitlab: Instance) -> None:
    path = gitlab.folder / "token"
    assert "Verify:  no (--no-verify)" in gitlab.done("--token", NAME, "--no-verify", "--deliver", f"file:{path}")
    assert gitlab.api.requests == 0
    assert gitlab.accepts(path.read_text()) == gitlab.rows()[1].id


def test_a_wrong_key_is_noticed_before_anything_is_delivered_or_revoked(gitlab: Instance) -> None:
    more_accounts(gitlab, 2)
    line = gitlab.run(
        *("--within", "30d", "--yes", "--deliver", f"file:{gitlab.folder}/{{account}}"),
        *("--secrets-file", gitlab.secrets([WRONG])),
    )
    assert line.returncode == 1
    told, last = line.stderr.splitlines()
    assert "another db_key_base" in told
    assert "The new token was revoked again, and the old one is as it was." in told
    assert "None of 3 tokens was rotated. 2 tokens were not tried. → to rotate the others" in last
    rows = gitlab.rows()
    assert [(one.revoked, one.previous) for one in rows] == [(False, None)] * 3 + [(True, 1)]
    assert sorted(os.listdir(gitlab.folder)) == ["other.yml", "secrets.yml"]
    assert gitlab.accepts(OLD.reveal()) == 1

    shown = gitlab.done("--resume", "1", "--deliver", f"file:{gitlab.folder}/{{account}}")
    assert "Run 1: 3 tokens left to rotate on " in shown
    assert [one.revoked for one in gitlab.rows()] == [True] * 4 + [False] * 3
    assert gitlab.accepts((gitlab.folder / "inventory").read_text()) is not None
    gitlab.check()


def test_gitlab_that_means_another_token_is_no_proof(gitlab: Instance) -> None:
    gitlab.api.answer(Reply(200, {"id": 4711, "expires_at": str(NEXT_YEAR), "user_id": 1}))
    words = ("--token", NAME, "--yes", "--deliver", f"file:{gitlab.folder}/token")
    line = gitlab.refusal(*words, status=1, changed=True)
    assert "for one with id 4711" in line
    assert (
        "→ to try again, with the same --deliver, --verify and --secrets-file: gitlab-tokens rotate --resume 1" in line
    )
    assert [one.revoked for one in gitlab.rows()] == [False, True]
    assert not (gitlab.folder / "token").exists()


def test_a_delivery_that_fails_is_taken_back_and_the_others_go_on(gitlab: Instance) -> None:
    more_accounts(gitlab, 2)
    command = f'command:test "$TOKENS_ACCOUNT" != account0 && cat > {gitlab.folder}/"$TOKENS_ACCOUNT"'
    done = gitlab.run("--within", "30d", "--yes", "--deliver", command)
    assert done.returncode == 4
    told, last = done.stderr.splitlines()
    assert told.startswith("2 of 3: account0, ")
    assert "failed with exit status 1" in told
    assert last == (
        "2 of 3 tokens were rotated and stay so. → to rotate the others, with the same --deliver, --verify and "
        "--secrets-file: gitlab-tokens rotate --resume 1"
    )
    assert [one.revoked for one in gitlab.rows()] == [True, False, True, False, True, False]
    gitlab.check()
    gitlab.done("--resume", "1", "--deliver", f"command:cat > {gitlab.folder}/account0")
    assert gitlab.accepts((gitlab.folder / "account0").read_text()) == gitlab.rows()[-1].id
    gitlab.check()
    again = ("--resume", "1", "--deliver", "command:cat")
    assert gitlab.done(*again) == "Run 1 is complete: there is nothing to do.\n"
    document = json.loads(gitlab.done(*again, "--output", "json"))
    assert (document["run"], document["results"]) == (1, [])


def test_a_nightly_rotation_of_an_account_ends_well_where_it_has_nothing_to_do(gitlab: Instance) -> None:
    nightly = ("--service-account", "inventory", "--within", "30d", "--yes", "--deliver", "command:cat > /dev/null")
    assert gitlab.run(*nightly).returncode == 0
    again = gitlab.run(*nightly)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "No token is selected: there is nothing to do.")


def test_a_token_that_somebody_was_faster_with_is_left_alone(gitlab: Instance, gate: Gate) -> None:
    more_accounts(gitlab, 1)
    process = gitlab.start("--within", "30d", "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    second = ("--yes", "--deliver", f"file:{gitlab.folder}/other", "--grace", "7d")
    assert "Token 1 of inventory has a successor of run 1" in gitlab.refusal("--token", NAME, *second, status=3)
    assert "Run 1 (rotate) is under way" in gitlab.refusal("--token", "2", *second, status=3)
    gitlab.execute("UPDATE personal_access_tokens SET revoked = true WHERE id = 2")
    gate.open()
    status, _, err = ended(process)
    assert status == 4
    assert "Token 2 of account0 was revoked in the meantime. No new token was made." in err
    assert [one.revoked for one in gitlab.rows()] == [True, True, False]


def test_a_command_after_all_that_fails_takes_nothing_back(gitlab: Instance) -> None:
    line = gitlab.refusal(
        *("--token", NAME, "--yes", "--deliver", f"file:{gitlab.folder}/token", "--after", "exit 7"),
        status=4,
        changed=True,
    )
    assert "The command of --after failed with exit status 7" in line
    assert gitlab.accepts((gitlab.folder / "token").read_text()) == 2


def test_of_a_hundred_each_has_its_command_afterwards_whatever_the_others_say(gitlab: Instance) -> None:
    more_accounts(gitlab, 2)
    log = gitlab.folder / "log"
    done = gitlab.run(
        *("--within", "30d", "--yes", "--deliver", f"file:{gitlab.folder}/{{account}}"),
        *("--after", f'echo "$TOKENS_ACCOUNT $TOKENS_RUN" >> {log}; test "$TOKENS_ACCOUNT" = account1'),
    )
    assert done.returncode == 4
    assert log.read_text().splitlines() == ["inventory 1", "account0 1", "account1 1"]
    (line,) = done.stderr.splitlines()
    assert line.count("The command of --after failed with exit status 1, for token") == 2
    assert line.endswith("3 of 3 tokens were rotated and stay so. Run it by hand.")
    assert "[ ] The pipelines that failed" in done.stdout
    gitlab.check()


def test_an_objection_to_one_token_does_not_keep_the_others_from_being_rotated(gitlab: Instance) -> None:
    more_accounts(gitlab, 1)
    gitlab.api.answer(Reply(403, {"message": "403 Forbidden"}), 1)
    done = gitlab.run("--within", "30d", "--yes", "--deliver", f"file:{gitlab.folder}/{{account}}")
    assert done.returncode == 4
    assert "its owner is blocked or has to accept terms" in done.stderr
    assert [one.revoked for one in gitlab.rows()] == [False, True, True, False]
    gitlab.check()


def test_a_failover_after_the_delivery_is_waited_for(gitlab: Instance, gate: Gate) -> None:
    name = gitlab.value("SELECT quote_ident(current_database())")
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    gitlab.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    gate.open()
    refused = "SELECT sum(xact_rollback) FROM pg_stat_database WHERE datname = current_database()"
    before = gitlab.value(refused)
    wait_until(lambda: bool(gitlab.value(refused) > before))
    assert process.poll() is None
    with make_engine(gitlab.address).begin() as connection:
        connection.execute(sa.text("SET TRANSACTION READ WRITE"))
        connection.execute(sa.text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
    assert ended(process)[0] == 0
    old, new = gitlab.rows()
    assert (old.revoked, new.revoked) == (True, False)
    assert gitlab.accepts((gitlab.folder / "token").read_text()) == new.id


def test_a_successor_of_somebody_elses_is_told_of(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    # What GitLab's own rotation does.
    with make_engine(gitlab.address).begin() as connection:
        owner = connection.execute(sa.text("SELECT user_id FROM personal_access_tokens WHERE id = 1")).scalar_one()
        other = make_token(connection, user_id=owner, name=NAME, expires_at=LATER, previous_personal_access_token_id=1)
        connection.execute(sa.text("UPDATE personal_access_tokens SET revoked = true WHERE id = 1"))
    gate.open()
    status, out, _ = ended(process)
    assert status == 0
    assert "the old one was rotated by somebody else, too, and that successor works as well." in out
    assert "[ ] Of two successors of one token the unused one is revoked, in GitLab." in out
    assert [one.id for one in gitlab.rows() if not one.revoked] == [2, other]


def test_what_was_rotated_twice_is_not_begun_anew_from_its_grandparent(gitlab: Instance) -> None:
    words = ("--grace", "7d", "--deliver", f"file:{gitlab.folder}/token", "--force")
    gitlab.done("--token", "1", *words)
    gitlab.done("--token", "2", *words)
    gitlab.execute(f"UPDATE personal_access_tokens SET expires_at = '{TODAY}' WHERE id IN (1, 2)")
    assert "its successor 3 works" in gitlab.done("--expired-within", "30d", *words)
    assert "its successor 3 works" in gitlab.refusal("--token", "1", "--yes", *words, status=3)
    assert gitlab.accepts((gitlab.folder / "token").read_text()) == 3


def test_two_tokens_of_one_account_never_go_to_one_place(gitlab: Instance) -> None:
    with make_engine(gitlab.address).begin() as connection:
        owner = connection.execute(sa.text("SELECT user_id FROM personal_access_tokens WHERE id = 1")).scalar_one()
        make_token(connection, user_id=owner, name="second", expires_at=SOON)
    command = f'command:cat > {gitlab.folder}/"$TOKENS_ACCOUNT'
    line = gitlab.refusal("--within", "30d", "--yes", "--deliver", f'{command}"', status=2)
    assert "2 tokens of inventory would go to one place" in line
    gitlab.done("--within", "30d", "--deliver", f'{command}.$TOKENS_OLD_ID"')
    assert [gitlab.accepts((gitlab.folder / f"inventory.{old}").read_text()) for old in (1, 2)] == [3, 4]


def test_several_tokens_are_not_lost_in_a_command_that_does_the_same_with_each(gitlab: Instance) -> None:
    more_accounts(gitlab, 1)
    within = ("--within", "30d", "--deliver")
    line = gitlab.refusal(*within, f"command:cat > {gitlab.folder}/out-{{account}}", "--yes", status=2)
    assert 'write "$TOKENS_ACCOUNT" instead' in line
    line = gitlab.refusal(*within, f"command:cat > {gitlab.folder}/out", "--yes", status=2)
    assert "2 tokens would go to one place" in line
    script = gitlab.folder / "deliver"
    script.write_text(f'#!/bin/sh\ncat > "{gitlab.folder}/$TOKENS_ACCOUNT"\n')
    script.chmod(0o755)
    note = "2 tokens go to one command that names neither TOKENS_ACCOUNT nor TOKENS_NAME_SAFE nor TOKENS_OLD_ID."
    done = gitlab.run(*within, f"command:{script}", "--dry-run", "--output", "json")
    assert note in json.loads(done.stdout)["plan"]["notes"][0]["text"]
    assert f"NOTE: {note}" in gitlab.done(*within, f"command:{script}")
    assert [gitlab.accepts((gitlab.folder / name).read_text()) for name in ("inventory", "account0")] == [3, 4]


def test_what_another_run_has_rotated_is_not_delivered_again(gitlab: Instance) -> None:
    assert gitlab.run("--token", NAME, "--yes", "--deliver", "command:false").returncode == 1
    gitlab.done("--token", NAME, "--deliver", f"file:{gitlab.folder}/token")
    done = gitlab.run("--resume", "1", "--deliver", f"file:{gitlab.folder}/other", "--dry-run")
    assert done.returncode == 0, done
    assert "Verify:  no (there is no new token)\nDeliver: nothing (there is no new token)\n" in done.stdout


def test_a_run_ends_whose_old_token_another_one_has_rotated_with_a_grace(gitlab: Instance) -> None:
    assert gitlab.run("--token", NAME, "--yes", "--deliver", "command:false").returncode == 1
    gitlab.done("--token", NAME, "--grace", "7d", "--deliver", f"file:{gitlab.folder}/token")
    resume = ("--resume", "1", "--yes", "--deliver", f"file:{gitlab.folder}/other")
    line = gitlab.refusal(*resume, status=3)
    assert line.endswith("Token 1 of inventory was rotated already, and its successor 3 works. No new token was made.")
    assert "is complete" in gitlab.run(*resume).stdout


@pytest.mark.slow
def test_of_an_old_token_that_was_revoked_meanwhile_nothing_is_left_to_resume(gitlab: Instance, gate: Gate) -> None:
    """Nobody has a successor that was not handed over; one that was may be in use."""
    more_accounts(gitlab, 1)
    for token, stays in ((1, False), (2, True)):
        if not stays:
            gitlab.api.hang(1)
        process = gitlab.start("--token", token, "--yes", "--deliver", f"command:{gate}; cat > {gitlab.folder}/token")
        if stays:
            gate.wait()
        else:
            wait_until(lambda: gitlab.api.requests > 0)
        process.kill()
        if stays:
            gate.open()
        ended(process)
        while still_running(token, token):
            pass
        gitlab.execute(f"UPDATE personal_access_tokens SET revoked = true WHERE id = {token}")
        resume = ("--resume", token, "--yes", "--deliver", f"file:{gitlab.folder}/other")
        line = gitlab.refusal(*resume, status=3, changed=True)
        assert f": Token {token} is revoked{',' if stays else ';'}" in line
        assert ("stays as it is: revoke it in GitLab" if stays else "which nobody has got, is revoked") in line
        assert "To try again" not in line
        assert "is complete" in gitlab.run(*resume).stdout
    assert [one.revoked for one in gitlab.rows()] == [True, True, True, False]


def test_nobody_is_told_to_revoke_a_successor_that_is_dead(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    gitlab.execute("UPDATE personal_access_tokens SET revoked = true")
    gate.open()
    assert ended(process)[0] == 4
    line = gitlab.refusal("--resume", "1", "--yes", "--deliver", f"file:{gitlab.folder}/other", status=3)
    assert line.endswith(": Token 1 is revoked, and its successor 2 does not work any more.")


@pytest.mark.slow
def test_fifty_with_failures_of_every_kind_end_well_all_the_same(gitlab: Instance) -> None:
    more_accounts(gitlab, 49)
    vault = gitlab.folder / "vault"
    vault.mkdir()
    for number in range(0, 60, 7):
        gitlab.api.answer(Reply(403, {"message": "403 Forbidden"}), 1)
        gitlab.api.lag(1)
        gitlab.api.answer(lambda request: None, 1)
        for _ in range(number % 5):
            gitlab.api.answer(Reply(503, ""), 1)
    # A third does not arrive, a fifth is stored all the same, and each ninth process is killed along with its command.
    command = (
        f"command:n=$(ls {vault}/tries | wc -l); touch {vault}/tries/$n; "
        f'test $((n % 3)) != 0 || exit 5; cat > "{vault}/$TOKENS_ACCOUNT"; '
        "test $((n % 5)) != 0 || exit 6; test $((n % 9)) != 0 || { kill -9 $PPID; sleep 0; }"
    )
    (vault / "tries").mkdir()
    done = gitlab.run("--within", "30d", "--yes", "--deliver", command)
    for _ in range(60):
        gitlab.check()
        if done.returncode == 0:
            break
        wait_until(lambda: str(vault) not in process_list())  # which each command names
        done = gitlab.run("--resume", "1", "--yes", "--deliver", command)
    assert done.returncode == 0
    live = [one for one in gitlab.rows() if not one.revoked]
    assert sorted(one.previous for one in live) == list(range(1, 51))
    assert sorted(gitlab.accepts(path.read_text()) or 0 for path in vault.iterdir() if path.is_file()) == [
        one.id for one in live
    ]


def test_where_all_have_a_successor_already_there_is_nothing_to_do(gitlab: Instance) -> None:
    every_day = ("--within", "30d", "--grace", "7d", "--deliver", f"file:{gitlab.folder}/{{account}}")
    gitlab.done(*every_day)
    assert "No token is left: there is nothing to do." in gitlab.done(*every_day)
    document = json.loads(gitlab.done(*every_day, "--output", "json"))
    assert document["plan"]["tokens"] == 0
    assert "successor" in document["plan"]["notes"][0]["text"]


def test_a_run_of_which_only_the_end_was_not_written_down_is_ended_by_its_resumption(gitlab: Instance) -> None:
    gitlab.done("--token", NAME, "--deliver", f"file:{gitlab.folder}/token")
    gitlab.execute("UPDATE token_tasks.runs SET state = 'stopped'")
    assert gitlab.done("--resume", "1") == "Run 1: nothing is left to rotate.\n"
    assert gitlab.value("SELECT state FROM token_tasks.runs") == "done"


def test_a_token_that_has_just_expired_is_rotated_like_any_other(gitlab: Instance) -> None:
    gitlab.execute(f"UPDATE personal_access_tokens SET expires_at = '{TODAY - timedelta(30)}'")
    shown = gitlab.done("--service-account", "inventory", "--deliver", f"file:{gitlab.folder}/token")
    assert "| expired 30 days ago |" in shown
    old, new = gitlab.rows()
    assert (old.revoked, gitlab.accepts((gitlab.folder / "token").read_text())) == (True, new.id)


def planned(gitlab: Instance, *words: object, stdin: str = "") -> list[tuple[int, str]]:
    """Which tokens a dry run would rotate, in its order, and why."""
    done = gitlab.run(*words, "--dry-run", "--output", "json", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [(one["id"], one["why"]) for one in json.loads(done.stdout)["plan"].get("rotations", [])]


def test_within_means_what_works_today_and_expired_within_what_has_just_died(gitlab: Instance) -> None:
    days = (-3000, -15, -14, -3, 0, 1, 6, 30, 31)
    ids = {day: more_accounts_of(gitlab, f"day{day}", TODAY + timedelta(day)) for day in days}
    more_accounts_of(gitlab, "never", "infinity")
    more_accounts_of(gitlab, "revoked", TODAY + timedelta(2), revoked=True)
    near = [(ids[1], "expires in 1 day"), (ids[6], "expires in 6 days"), (1, "expires in 20 days")]
    assert planned(gitlab, "--within", "30d") == [*near, (ids[30], "expires in 30 days")]
    died = [(ids[0], "expired today"), (ids[-3], "expired 3 days ago"), (ids[-14], "expired 14 days ago")]
    assert planned(gitlab, "--expired-within", "14d") == died
    assert planned(gitlab, "--expired-within", "4d", "--within", "10d") == [died[0], near[0], died[1], near[1]]
    assert planned(gitlab, "--within", "30d", "--user", "day6,day-3") == [near[1]]
    assert planned(gitlab, "--token", ids[6]) == [(ids[6], "named")]
    table = gitlab.run("--within", "10d", "--dry-run").stdout
    assert table.index("expires in 1 day ") < table.index("expires in 6 days")


@pytest.mark.slow
def test_what_expired_long_ago_gets_no_successor_unless_somebody_means_it(gitlab: Instance) -> None:
    long_ago = more_accounts_of(gitlab, "ancient", TODAY - timedelta(31), name="ancient")
    to = ("--deliver", f"file:{gitlab.folder}/{{token_id}}")
    for words in (
        ("--expired-within", "60d", "--within", "30d", "--yes"),
        ("--state", "expired", "--expires", "2016-01-01..2999-12-31", "--dry-run"),
        ("--service-account", "ancient", "--yes"),
        ("--token", "ancient", "--yes"),
        ("--user", "ancient", "--state", "expired", "--yes", "--output", "json"),
    ):
        line = gitlab.refusal(*words, *to, status=3)
        assert line.endswith("use --allow long-expired")
    document = json.loads(gitlab.run("--token", "ancient", "--yes", "--output", "json", *to).stdout)
    assert "1 token expired more than 30 days ago, the first on" in document["plan"]["notes"][0]["text"]
    assert "--allow takes long-expired" in gitlab.refusal("--within", "1d", "--allow", "past", "--yes", *to, status=2)
    allowed = ("--expired-within", "60d", "--allow", "long-expired")
    assert planned(gitlab, *allowed) == [(long_ago, "expired 31 days ago")]
    gitlab.done("--token", long_ago, *to)
    assert gitlab.accepts((gitlab.folder / str(long_ago)).read_text()) == 3
    more_accounts_of(gitlab, "older", "2016-01-31")
    gitlab.done("--state", "expired", "--name", "*", "--allow", "long-expired", *to)
    assert [one.revoked for one in gitlab.rows()] == [False, True, False, True, False]


@pytest.mark.slow
def test_what_selects_for_an_extension_selects_for_a_rotation(gitlab: Instance) -> None:
    with make_engine(gitlab.address).begin() as connection:
        group = make_group(connection, path="tools")
        project = make_project(connection, path="scanner", namespace_id=group)
        bot = make_user(connection, user_type=6, username="bot")
        make_membership(connection, user_id=bot, project_id=project)
        own = make_user(connection, user_type=13, username="provisioned", provisioned_by_group_id=group)
        reader = "---\n- read_api\n"
        of_bot = make_token(connection, user_id=bot, expires_at=LATER, name="scan", created_at="2024-05-05")
        of_own = make_token(
            connection, user_id=own, expires_at=LATER, scopes=reader, last_used_at="2024-04-04 12:00+00"
        )
        endless = make_token(connection, user_id=own, name="endless")
    (dead,) = more_accounts(gitlab, 1, expires_at=TODAY - timedelta(2))
    both = ("--kind", "project,service-account")
    for words, expected in (
        (("--expires", LATER), [of_own]),
        (("--expires", "none"), [endless]),
        (("--expires", f"{SOON}..{LATER}", *both), [1, of_bot, of_own]),
        (("--group", "tools"), [of_own, endless]),
        (("--group", "tools", *both), [of_bot, of_own, endless]),
        (("--project", "tools/scanner", *both), [of_bot]),
        (("--user", "Provisioned"), [of_own, endless]),
        (("--name", "*Inventory"), [1]),
        (("--scope", "read_api"), [of_own]),
        (("--last-used-before", "2024-04-05", "--scope", "read_api"), [of_own]),
        (("--last-used-after", "2026-01-01"), [1]),
        (("--created-after", "2024-01-01", *both), [of_bot]),
        (("--created-before", "2024-01-01", "--user", "inventory"), [1]),
        (("--state", "expired", "--name", "*"), [dead]),
        (("--service-account", "provisioned", "--expires", "none"), [endless]),
    ):
        assert [token for token, _ in planned(gitlab, *words)] == expected, words
    assert planned(gitlab, "--ids", "-", stdin=f"1, {of_own} # two\n") == [(1, "named"), (of_own, "named")]
    listed = gitlab.folder / "ids"
    listed.write_text(f"1 {of_bot} {dead} 4711\n")
    done = gitlab.run("--ids", listed, "--dry-run")
    assert "NOTE: 1 of 4 ids is no token's: 4711.\n" in done.stdout
    said = "are of tokens that the other options leave out"
    assert f"NOTE: 2 of 4 ids {said}: {of_bot}, {dead}.\n" in done.stdout
    alone = "No token fulfils this, with any other options: "
    for words, why in (
        (("--name", "nosuch"), f'{alone}name "nosuch".'),
        (("--last-used-before", "2000-01-01", "--scope", "sudo"), f"{alone}scope sudo."),
        (("--project", "tools/scanner"), "All tokens that fulfil the other options are left out by"),
    ):
        shown = gitlab.done(*words, "--dry-run")
        assert f"NOTE: {why}" in shown
        assert shown.endswith("\nNo token is selected: there is nothing to do.\n")
        document = json.loads(gitlab.done(*words, "--dry-run", "--output", "json"))
        (note,) = document["plan"]["notes"]
        assert note["text"].startswith(why)
    to = ("--yes", "--deliver", f"file:{gitlab.folder}/{{token_id}}")
    refused: tuple[tuple[tuple[object, ...], int, str], ...] = (
        (("--scope", "aip", "--dry-run"), 2, 'No token has the scope "aip", and GitLab has none of that name'),
        (("--group", "tools", *both, "--at-most", "2"), 3, "The plan has 3 tokens, more than --at-most 2"),
        (("--within", "30d", "--at-most", "few"), 2, "--at-most takes a number"),
        (("--within", "30d", "--state", "expired"), 2, "--within is about tokens that are active"),
        (("--expired-within", "30d", "--state", "active"), 2, "--expired-within is about tokens that are expired"),
        (("--service-account", "inventory", "--user", "provisioned"), 2, "use one of them"),
        (("--group", "nowhere"), 2, 'no group "nowhere"'),
        (("--state", "active"), 2, "Choose the tokens"),
        (("--resume", "1", "--ids", listed), 2, "leave --ids out"),
    )
    for options, status, said in refused:
        assert said in gitlab.refusal(*options, *to, status=status), options
    gitlab.done("--group", "tools", *both, "--at-most", "3", *to[1:])
    gitlab.check()


def test_the_list_on_a_terminal_has_what_has_just_died_beside_what_soon_will(gitlab: Instance) -> None:
    more_accounts_of(gitlab, "dead", TODAY - timedelta(3), name="Dead")
    more_accounts_of(gitlab, "ancient", "2016-01-31")
    with gitlab.terminal("--deliver", f"file:{gitlab.folder}/token") as program:
        program.wait_for(f"dead (Dead, expired 3 days ago, on {TODAY - timedelta(3)})")
        assert program.text.index("dead (") < program.text.index("inventory (")
        assert "ancient" not in program.text
        program.press("enter", "enter")
        program.wait_for("? (y/N)")
        program.press("y", "enter")
        assert program.wait() == 0
    assert [one.revoked for one in gitlab.rows()] == [False, True, False, False]


def test_what_a_person_takes_from_the_list_is_meant_however_long_it_is_dead(gitlab: Instance) -> None:
    gitlab.execute("UPDATE personal_access_tokens SET expires_at = '2016-01-31'")
    with gitlab.terminal("--deliver", f"file:{gitlab.folder}/token") as program:
        program.wait_for("these are all of them")
        program.press("enter")
        program.wait_for("NOTE: 1 token expired more than 30 days ago, the first on 2016-01-31")
        program.press("y", "enter")
        assert program.wait() == 0
    assert [one.revoked for one in gitlab.rows()] == [True, False]


@pytest.mark.parametrize("step", ["created", "delivered", *slow_ones("verified", "marked")])
def test_a_process_that_is_killed_between_two_steps_is_resumed_to_a_good_end(
    gitlab: Instance, gate: Gate, step: str
) -> None:
    vault = gitlab.folder / "vault"
    after = f"cat > {vault}; {gate}"
    command = {"created": "cat", "verified": f"{gate}; cat > {vault}", "delivered": after, "marked": after}[step]
    if step == "created":
        gitlab.api.hang(1)
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:{command}")
    if step == "created":
        wait_until(lambda: gitlab.api.requests > 0)
    else:
        gate.wait()
    with psycopg.connect(gitlab.address.conninfo) as other:
        if step == "marked":
            other.execute("SELECT FROM personal_access_tokens WHERE id = 1 FOR UPDATE")
            gate.open()
            wait_until(lambda: state(gitlab) == "delivered")
        process.kill()
        if step in ("verified", "delivered"):
            # A command outlives it, and what that stores would be revoked.
            again = ("--resume", "1", "--yes", "--deliver", "command:cat")
            assert "is still running, as process" in gitlab.refusal(*again, status=3)
            gate.open()
        ended(process)
    wait_until(lambda: not still_running(1, 1))
    gitlab.check()
    assert not gitlab.rows()[0].revoked
    assert state(gitlab) == {"created": "created", "marked": "delivered"}.get(step, "delivering")

    words = ["--resume", "1"] if step == "marked" else ["--resume", "1", "--deliver", f"command:cat > {vault}.new"]
    gitlab.done(*words)
    rows = gitlab.rows()
    gitlab.check()
    assert [one.revoked for one in rows] == ([True, False] if step == "marked" else [True, True, False])
    token = vault if step == "marked" else vault.with_name("vault.new")
    assert gitlab.accepts(token.read_text()) == rows[-1].id


def test_a_delivery_of_another_gitlab_with_the_same_numbers_holds_up_nothing(gitlab: Instance) -> None:
    gitlab.api.hang(1)
    process = gitlab.start("--token", NAME, "--yes", "--deliver", "command:cat")
    wait_until(lambda: gitlab.api.requests > 0)
    process.kill()
    ended(process)
    numbers = {"TOKENS_RUN": "1", "TOKENS_OLD_ID": "1", MARK: "2026-01-01T00:00:00.000000+00:00 0123"}
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, **numbers}) as other:
        try:
            wait_until(lambda: bool(still_running(1, 1)))
            gitlab.done("--resume", "1", "--deliver", f"file:{gitlab.folder}/token")
        finally:
            other.kill()
    assert [one.revoked for one in gitlab.rows()] == [True, True, False]


def state(gitlab: Instance) -> str:
    return str(gitlab.value("SELECT state FROM token_tasks.rotations WHERE run_id = 1"))


STOPPING = (
    "Stopping after this token. A command of --deliver or --after that still runs is waited for. "
    "A second Ctrl-C kills it.\n"
)


@pytest.mark.parametrize(("number", "status", "said"), [(signal.SIGINT, 130, STOPPING), (signal.SIGTERM, 143, "")])
def test_a_stop_lets_the_delivery_under_way_end_and_retires_its_old_token(
    gitlab: Instance, gate: Gate, number: signal.Signals, status: int, said: str
) -> None:
    more_accounts(gitlab, 2)
    process = gitlab.start("--within", "30d", "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    process.send_signal(number)
    gate.open()
    assert ended(process)[::2] == (
        status,
        f"{said}Stopped. 1 of 3 tokens was rotated and stays so. → to rotate the others, with the same --deliver, "
        "--verify and --secrets-file: gitlab-tokens rotate --resume 1\n",
    )
    assert [one.revoked for one in gitlab.rows()] == [True, False, False, False]
    gitlab.done("--resume", "1", "--deliver", f"file:{gitlab.folder}/{{account}}")
    assert [one.revoked for one in gitlab.rows()] == [True, True, True, False, False, False]
    gitlab.check()


def test_a_stop_while_gitlab_is_asked_takes_the_new_token_back(gitlab: Instance) -> None:
    gitlab.api.fail(503)
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"file:{gitlab.folder}/token")
    wait_until(lambda: gitlab.api.requests > 0)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] in (1, 143)
    assert [one.revoked for one in gitlab.rows()] == [False, True]
    assert not (gitlab.folder / "token").exists()
    gitlab.check()


def everything_shown(program: Program) -> str:
    return program.raw.decode()


def test_on_a_terminal_account_and_token_are_chosen_and_the_token_is_shown_once(gitlab: Instance) -> None:
    more_accounts_of(gitlab, "scanner", SOON + timedelta(1), name="Scanner")
    more_accounts_of(gitlab, "later", LATER)
    with gitlab.terminal() as program:
        program.wait_for("Select an account")
        program.wait_for(f"inventory ({NAME}, expires in 20 days, on {SOON})")
        program.wait_for(f"scanner (Scanner, expires in 21 days, on {SOON + timedelta(1)})")
        assert "later" not in program.text
        program.press("enter")
        program.wait_for("Select a token of inventory")
        program.wait_for("(id 1, api, expires")
        program.press("enter")
        program.wait_for("Rotate 1 token on database ")
        program.wait_for("? (y/N)")
        assert "Deliver: this terminal, once" in program.text
        assert len(gitlab.rows()) == 2 + 1
        program.press("y", "enter")
        program.wait_for("Is it where it belongs")
        (token,) = set(TOKEN.findall(everything_shown(program)))
        assert not gitlab.rows()[0].revoked
        program.press("y", "enter")
        assert program.wait() == 0
        assert "Left to do by hand:" in program.text
    rows = gitlab.rows()
    assert [one.revoked for one in rows] == [True, False, False, False]
    assert gitlab.accepts(token) == rows[-1].id


@pytest.mark.parametrize("answer", ["n", "", "ctrl-d", "ctrl-c"])
def test_a_token_that_nobody_has_taken_from_the_screen_is_revoked_again(gitlab: Instance, answer: str) -> None:
    with gitlab.terminal("--token", NAME) as program:
        program.wait_for("? (y/N)")
        program.press("y", "enter", "y", "enter")  # what is typed ahead is no answer to a question not yet seen
        program.wait_for("Is it where it belongs")
        (token,) = set(TOKEN.findall(everything_shown(program)))
        program.press(answer, *([] if answer.startswith("ctrl") else ["enter"]))
        assert program.wait() == (130 if answer == "ctrl-c" else 1)
        assert ("Stopped." if answer == "ctrl-c" else "nobody has taken it") in program.text
        again = "to go on" if answer == "ctrl-c" else "to try again"
        assert f"→ {again}, with the same --verify and --secrets-file: gitlab-tokens" in " ".join(program.text.split())
    assert [one.revoked for one in gitlab.rows()] == [False, True]
    assert gitlab.accepts(token) is None
    assert gitlab.accepts(OLD.reveal()) == 1


@pytest.mark.parametrize("step", ["account", "token", "sure"])
def test_whoever_says_no_has_changed_nothing(gitlab: Instance, step: str) -> None:
    more_accounts_of(gitlab, "scanner", SOON)
    rows = gitlab.rows()
    with gitlab.terminal() as program:
        program.wait_for("Select an account")
        if step == "account":
            program.press("down", "down", "enter")
        elif step == "token":
            program.press("enter", "down", "enter")
        else:
            program.press("enter", "enter", "enter")
        assert program.wait() == 0
        assert program.lines[-1] == "Nothing was changed."
    assert gitlab.rows() == rows


def test_without_verification_a_person_is_asked_and_enter_means_no(gitlab: Instance) -> None:
    rows = gitlab.rows()
    with gitlab.terminal("--token", NAME, "--no-verify") as program:
        program.wait_for("Continue without verification? (y/N)")
        assert "WARNING: Without verification a wrong db_key_base is not noticed" in program.text
        program.press("enter")
        assert program.wait() == 0
    assert gitlab.rows() == rows


def test_the_journal_is_installed_on_the_way_or_nothing_is_done(gitlab: Instance) -> None:
    gitlab.execute("DROP SCHEMA token_tasks CASCADE")
    for answer, count in (("n", 1), ("y", 2)):
        with gitlab.terminal("--token", NAME, "--deliver", f"file:{gitlab.folder}/token") as program:
            program.wait_for("? (y/N)")
            program.press("y", "enter")
            program.wait_for("There is no journal here yet")
            program.press(answer, "enter")
            assert program.wait() == 0
        assert len(gitlab.rows()) == count


def test_no_stream_file_process_list_or_table_ever_has_the_token_or_a_key(
    gitlab: Instance, gate: Gate, tmp_path: Path
) -> None:
    more_accounts(gitlab, 2)
    vault = gitlab.folder / "vault"
    command = (
        f'cat > {vault}-"$TOKENS_ACCOUNT"; case "$TOKENS_ACCOUNT" in account0) {gate}; exit 3;; account1) exit 4;; esac'
    )
    words = gitlab.command("--within", "30d", "--yes", "--deliver", f"command:{command}", "--after", "env; exit 1")
    words.insert(1, "--debug")
    environment = {**os.environ, "INVOKE_DEBUG": "1", "PYTHONFAULTHANDLER": "1"}
    # Into files: --debug writes more than a pipe holds, before anybody reads it.
    said = [tmp_path / "out", tmp_path / "err"]
    with said[0].open("w") as stdout, said[1].open("w") as stderr:
        process = subprocess.Popen(words, cwd=gitlab.folder, env=environment, stdout=stdout, stderr=stderr)
    gate.wait()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    seen = process_list()
    gate.open()
    assert process.wait() == 4
    out, err = (path.read_text() for path in said)
    assert "Traceback" in err
    assert re.search(r"Max core file size +0 +0 ", limits)
    tokens = [(gitlab.folder / f"vault-{name}").read_text() for name in ("inventory", "account0", "account1")]
    assert all(TOKEN.fullmatch(token) for token in tokens)
    left = "".join(
        path.read_text()
        for path in gitlab.folder.rglob("*")
        if path.is_file() and path.name[:5] not in ("vault", "secre")
    )
    hidden = [*tokens, *(key.reveal() for key in KEYS.values)]
    for name, text in {"out": out, "err": err, "ps": seen, "left": left, "stored": gitlab.everything_stored()}.items():
        assert not any(word in text for word in hidden), name
    journal = gitlab.value("SELECT string_agg(CAST(r AS text), ' ') FROM token_tasks.rotations r")
    digests = [KEYS.digest_with_current(Secret(token)) for token in tokens]
    assert not any(digest in journal + out + err for digest in digests)


@pytest.mark.slow
def test_neither_a_token_nor_its_digest_is_found_anywhere_but_where_it_belongs(
    gitlab: Instance, gate: Gate, alone: Alone
) -> None:
    """However a rotation ends: well, without proof, undelivered, killed; a digest is in GitLab's own table alone."""
    more_accounts(gitlab, 3)
    vault, temporary = gitlab.folder / "vault", gitlab.folder / "temporary"
    vault.mkdir()
    temporary.mkdir()
    gitlab.execute("UPDATE public.users SET name = username")
    logged = alone.server.folder / "server.log"
    logged_before = logged.stat().st_size
    environment = {**os.environ, "INVOKE_DEBUG": "1", "TMPDIR": str(temporary)}
    seen: dict[str, str] = {}

    def rotate(token: int, command: str, *words: object, killed: bool = False) -> int:
        # A pipe takes less than --debug says, and nobody reads while the command waits.
        paths = [gitlab.folder / f"{stream} {token}" for stream in ("out", "err")]
        rotation = gitlab.command("--token", token, "--yes", "--deliver", command, *words)[1:]
        with paths[0].open("w") as out, paths[1].open("w") as err:
            process = subprocess.Popen(
                [GITLAB_TOKENS, "--debug", *rotation],
                cwd=gitlab.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        if str(gate) in command:
            gate.wait()
            seen[f"processes {token}"] = process_list()
            if killed:
                process.kill()
            gate.open()
        status = process.wait(timeout=60)
        seen.update((path.name, path.read_text()) for path in paths)
        assert seen[f"err {token}"]
        return status

    assert rotate(1, f"command:cat > {vault}/1; {gate}") == 0
    assert rotate(2, f"file:{vault}/2", "--secrets-file", gitlab.secrets([WRONG])) == 1
    assert rotate(3, f"command:cat > {vault}/3; {gate}; exit 3") == 1
    assert rotate(4, f"command:cat > {vault}/4; {gate}", killed=True) == -signal.SIGKILL
    tokens = {token for token in gitlab.api.tokens if token}
    assert len(tokens) == 4
    assert {(vault / name).read_text() for name in "134"} < tokens

    left = [path for path in gitlab.folder.rglob("*") if path.is_file() and path.parent != vault]
    seen["files"] = "".join(path.read_text() for path in left if path.name not in ("secrets.yml", "other.yml"))
    with logged.open("rb") as log:
        log.seek(logged_before)
        seen["server's log"] = log.read().decode(errors="replace")
    with make_engine(gitlab.address).connect() as connection:
        tables = connection.execute(sa.text(TABLES)).scalars().all()
        for table in tables:
            if table != "public.personal_access_tokens":
                seen[table] = str(connection.execute(sa.text(CONTENT.format(table))).scalar())
        seen["GitLab's tokens"] = str(
            connection.execute(
                sa.text(
                    "SELECT string_agg(CAST(to_jsonb(t) - 'token_digest' AS text), ' ') FROM personal_access_tokens t"
                )
            ).scalar()
        )
    keys = (KEYS, Keys.of([WRONG]))
    hidden = [*tokens, *(one.digest_with_current(Secret(token)) for token in tokens for one in keys)]
    assert any(one in gitlab.everything_stored() for one in hidden[len(tokens) :])
    assert len(seen) > 20
    assert [name for name, text in seen.items() if any(word in text for word in hidden)] == []


@pytest.mark.slow
@pytest.mark.parametrize("step", ["INSERT", "UPDATE", "CHECK"])
def test_what_a_trigger_or_a_constraint_says_brings_no_digest_into_the_journal(gitlab: Instance, step: str) -> None:
    if step == "CHECK":
        gitlab.execute("ALTER TABLE public.personal_access_tokens ADD CHECK (id < 2)")
    else:
        gitlab.execute(
            """
            CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              RAISE EXCEPTION 'Nobody changes % of token (%)', NEW.token_digest, NEW;
            END $$
            """,
            f"""
            CREATE TRIGGER tell BEFORE {step} ON public.personal_access_tokens
            FOR EACH ROW EXECUTE FUNCTION public.tell()
            """,
        )
    done = gitlab.run("--token", NAME, "--yes", "--deliver", f"file:{gitlab.folder}/token")
    assert done.returncode == (ExitStatus.PARTIAL if step == "UPDATE" else ExitStatus.FAILED)  # it is delivered then
    why = gitlab.value("SELECT stopped_because FROM token_tasks.attempts")
    if step == "CHECK":
        assert "violates check constraint" in why
    else:
        assert "Nobody changes [digest] of token (" in why
    journal = gitlab.value("SELECT string_agg(CAST(a AS text), ' ') FROM token_tasks.attempts a")
    assert not re.search(r"[A-Za-z0-9+/]{43}=", journal + done.stdout + done.stderr)


def test_what_takes_long_before_anything_is_shown_is_announced(gitlab: Instance) -> None:
    words = ("--token", NAME, "--dry-run")
    with psycopg.connect(gitlab.address.conninfo) as lock:
        lock.execute("LOCK TABLE public.personal_access_tokens")
        environment = {**os.environ, PATIENCE_VARIABLE: "0"}
        process = subprocess.Popen(
            gitlab.command(*words), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        assert process.stderr.readline() == "Looking for the tokens...\n"
    status, _, later = ended(process)
    assert status == 0
    assert set(later.splitlines()) <= {"Looking at the tokens...", "Making the plan..."}


def test_a_process_that_crashes_with_a_token_in_memory_leaves_no_image_of_it(gitlab: Instance, gate: Gate) -> None:
    words = gitlab.command("--token", NAME, "--yes", "--deliver", f"command:{gate}; cat")

    def start(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh", *words],
            cwd=gitlab.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def crash(process: subprocess.Popen[bytes]) -> tuple[int, bool]:
        """The signal that ended it, and whether it left an image."""
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -os.WTERMSIG(status)
        return os.WTERMSIG(status), os.WCOREDUMP(status)

    another = start("/bin/sh", "-c", "kill -ABRT $$")
    assert crash(another) == (signal.SIGABRT, True), "no program leaves an image here, so this would prove nothing"
    process = start(*words)
    gate.wait()
    process.send_signal(signal.SIGABRT)
    assert crash(process) == (signal.SIGABRT, False)
    gate.open()


@pytest.mark.slow
def test_a_token_is_rotated_again_by_its_name_and_its_old_ones_are_left_out(gitlab: Instance) -> None:
    first = "a revoked token gets no successor; create a new one in GitLab, or leave it out."
    for said in (
        [],
        [f"Token 1 of inventory is revoked: {first}"],
        ["2 tokens that are revoked, and so get no successor (id 1, 2)."],
    ):
        shown = gitlab.done("--token", NAME, "--deliver", f"file:{gitlab.folder}/{{token_id}}")
        notes = [line for line in shown.splitlines() if line.startswith("NOTE: Left out: ")]
        assert notes == [f"NOTE: Left out: {one}" for one in said]
    assert [one.revoked for one in gitlab.rows()] == [True, True, True, False]
    gitlab.done("--token", NAME, "--grace", "3d", "--deliver", f"file:{gitlab.folder}/{{token_id}}")
    assert "was rotated already" in gitlab.refusal("--token", "4", "--yes", "--deliver", "stdout", status=3)


def test_the_history_knows_a_rotation_and_an_undo_of_it_is_refused(gitlab: Instance) -> None:
    gitlab.done("--token", NAME, "--deliver", f"file:{gitlab.folder}/token", "--reason", "expires soon")
    target = ("--target", url(gitlab.address))
    done = subprocess.run([GITLAB_TOKENS, "history", *target], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rotate" in done.stdout
    done = subprocess.run([GITLAB_TOKENS, "undo", "--run", "1", "--yes", *target], capture_output=True, text=True)
    assert done.returncode in (2, 3)
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run([GITLAB_TOKENS, "apply", "--run", "1", "--yes", *target], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Run 1 is complete: there is nothing to do.\n", "")


def test_the_gitlab_right_here_tells_its_own_url_and_its_secrets(gitlab: Instance) -> None:
    parts = conninfo_to_dict(gitlab.address.conninfo)
    place = {"host": str(parts["host"]), "port": str(parts["port"]), "database": str(parts["dbname"])}
    config = toolbox(gitlab.folder, username="gitlab", **place).parent
    port = urlsplit(gitlab.api.url).port
    (config / "gitlab.yml").write_text(json.dumps({"production": {"gitlab": {"host": "127.0.0.1", "port": port}}}))
    (config / "secrets.yml").write_text(gitlab.secrets().read_text())
    done = subprocess.run(
        [GITLAB_TOKENS, "rotate", "--token", NAME, "--yes", "--deliver", "stdout"],
        env={**os.environ, "INVOKE_TOKENS_ROOT": str(gitlab.folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert f"Verify:  {gitlab.api.url} has to accept the new token" in done.stderr
    assert gitlab.accepts(done.stdout.strip()) == gitlab.rows()[1].id

    (config / "secrets.yml").unlink()
    done = subprocess.run(
        [GITLAB_TOKENS, "rotate", "--service-account", "inventory", "--yes", "--deliver", f"file:{gitlab.folder}/t"],
        env={**os.environ, "INVOKE_TOKENS_ROOT": str(gitlab.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "secrets.yml is not there" in done.stderr
    assert len(gitlab.rows()) == 2


@pytest.mark.slow
def test_a_delivery_that_lasts_gives_signs_of_life(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    gitlab.execute("UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour'")
    wait_until(lambda: bool(gitlab.value("SELECT heartbeat_at > now() - interval '1 minute' FROM token_tasks.runs")))
    gate.open()
    assert ended(process)[0] == 0


def test_a_run_that_somebody_else_has_taken_over_is_left_to_them(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    gitlab.execute("UPDATE token_tasks.runs SET attempt = attempt + 1")
    gate.open()
    status, _, err = ended(process)
    assert status == ExitStatus.PARTIAL
    assert "Another process has taken over run 1" in err
    assert err.endswith(" → to see it: gitlab-tokens history --run 1\n")
    assert [one.revoked for one in gitlab.rows()] == [False, False]


def killed_before_its_delivery(gitlab: Instance) -> None:
    """Run 1 is killed while GitLab is asked: nobody has the new token."""
    gitlab.api.hang(1)
    process = gitlab.start("--token", NAME, "--yes", "--deliver", "command:cat")
    wait_until(lambda: gitlab.api.requests > 0)
    process.kill()
    ended(process)


def test_a_successor_that_nobody_has_neither_quiets_an_alarm_nor_lets_a_nightly_job_be_green(gitlab: Instance) -> None:
    target = ("--target", url(gitlab.address))
    assert call_here(GITLAB_TOKENS, "check", *target).returncode == ExitStatus.DUE
    killed_before_its_delivery(gitlab)
    for words in (["check"], ["check", "--each"]):
        done = call_here(GITLAB_TOKENS, *words, *target)
        assert (done.returncode, "1 token stops working" in done.stdout) == (ExitStatus.DUE, True)
    nightly = ("--within", "30d", "--yes", "--deliver", f"file:{gitlab.folder}/{{account}}")
    before = gitlab.rows()
    done = gitlab.run(*nightly)
    assert done.returncode == ExitStatus.PARTIAL
    assert "Token 1 of inventory has a successor of run 1, which has not come to its end." in done.stdout
    assert done.stderr == (
        "Run 1 holds up tokens that were left out: it has made new ones, and has not come to its end. "
        "→ to go on if it has stopped, with its options: gitlab-tokens rotate --resume 1\n"
    )
    more_accounts(gitlab, 1)
    assert gitlab.run(*nightly).returncode == ExitStatus.PARTIAL
    assert gitlab.rows()[: len(before)] == before
    assert gitlab.accepts((gitlab.folder / "account0").read_text()) is not None
    assert "has a successor of run 1" in gitlab.refusal("--token", "1", "--yes", *nightly[-2:], status=3)
    gitlab.done("--resume", "1", "--deliver", f"file:{gitlab.folder}/token")
    assert call_here(GITLAB_TOKENS, "check", *target).returncode == 0
    assert gitlab.run(*nightly).returncode == 0


def test_a_successor_that_nobody_has_is_not_rotated_in_place_of_the_old_token(gitlab: Instance) -> None:
    killed_before_its_delivery(gitlab)
    before = gitlab.rows()
    words = ("--service-account", "inventory", "--yes", "--deliver", f"file:{gitlab.folder}/token")
    assert gitlab.refusal(*words, status=3).endswith(" with its options: gitlab-tokens rotate --resume 1")
    assert gitlab.refusal("--token", "2", *words[2:], status=3) == (
        "Token 2 of inventory is a successor of run 1, which has not come to its end. → to go on if that run has "
        "stopped, with its options: gitlab-tokens rotate --resume 1"
    )
    done = gitlab.run("--within", "366d", *words[2:])
    assert (done.returncode, gitlab.rows()) == (ExitStatus.PARTIAL, before)
    assert "Left out: Token 2 of inventory is a successor of run 1" in done.stdout
    gitlab.done("--resume", "1", *words[3:])
    assert [one.revoked for one in gitlab.rows()] == [True, True, False]
    assert gitlab.run(*words, "--force").returncode == 0


def test_a_delivered_token_is_told_of_where_the_old_one_stays_locked(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    with psycopg.connect(gitlab.address.conninfo) as other:
        other.execute("SELECT FROM personal_access_tokens WHERE id = 1 FOR UPDATE")
        gate.open()
        wait_until(lambda: state(gitlab) == "delivered")
        process.send_signal(signal.SIGINT)
        status, _, err = ended(process)
    assert status == 130
    assert "The new token 2 of inventory is delivered and works; the old one is not retired yet." in err
    assert "The token was not rotated. → to go on, with the same " in err
    gitlab.done("--resume", "1")
    assert [one.revoked for one in gitlab.rows()] == [True, False]


def test_a_lock_that_stays_ends_a_rotation_whose_token_is_delivered_with_4(
    gitlab: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LOCK_TIMEOUT", "20ms")
    with psycopg.connect(gitlab.address.conninfo) as other:

        def hold(request: Request) -> None:
            other.execute("SELECT FROM personal_access_tokens WHERE id = 1 FOR UPDATE")

        gitlab.api.answer(hold, 1)  # and no answer: it is asked again
        words = ("--token", NAME, "--yes", "--deliver", f"file:{gitlab.folder}/token")
        line = gitlab.refusal(*words, status=ExitStatus.PARTIAL, changed=True)
    assert "The new token 2 of inventory is delivered and works; the old one is not retired yet." in line
    assert gitlab.accepts((gitlab.folder / "token").read_text()) == 2


def test_what_is_resumed_keeps_to_a_maximum_that_came_in_the_meantime(gitlab: Instance) -> None:
    assert gitlab.run("--token", NAME, "--yes", "--deliver", "command:false").returncode != 0
    with make_engine(gitlab.address).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=30)
    line = gitlab.refusal("--resume", "1", "--yes", "--deliver", "command:cat", status=3)
    assert "by now this instance allows 30 days at most: rotate it again." in line
    assert line.endswith(" → to plan it again: gitlab-tokens rotate --token 1")
    shown = gitlab.done("--token", NAME, "--deliver", f"file:{gitlab.folder}/token")
    assert "This instance allows 30 days at most" in shown


def test_an_old_token_that_lives_on_by_somebody_elses_hand_ends_with_4(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    gitlab.execute(f"UPDATE personal_access_tokens SET expires_at = '{LATER}' WHERE id = 1")
    gate.open()
    status, out, err = ended(process)
    assert (status, "was changed by somebody in the meantime, and is left alone" in out) == (ExitStatus.PARTIAL, True)
    assert err == "1 old token was changed by somebody else in the meantime, and left alone: 1.\n"
    assert [one.revoked for one in gitlab.rows()] == [False, False]


def test_an_old_token_that_was_deleted_is_said_to_be_so(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat > {gitlab.folder}/token; {gate}")
    gate.wait()
    gitlab.execute("DELETE FROM personal_access_tokens WHERE id = 1")
    gate.open()
    status, out, _ = ended(process)
    assert (status, "the old one was deleted by somebody in the meantime." in out) == (0, True)


def test_the_plan_of_what_is_left_says_that_an_old_token_is_dead(gitlab: Instance) -> None:
    assert gitlab.run("--token", NAME, "--yes", "--deliver", "command:false").returncode != 0
    gitlab.execute("UPDATE personal_access_tokens SET revoked = true WHERE id = 1")
    shown = gitlab.run("--resume", "1", "--dry-run").stdout
    assert "| revoked since " in shown
    assert "Revoke:" not in shown
    assert "NOTE: 1 old token was revoked or deleted in the meantime, so no new one is made for it." in shown


def test_what_is_said_to_end_a_delivery_of_a_killed_process_ends_it(gitlab: Instance, gate: Gate) -> None:
    process = gitlab.start("--token", NAME, "--yes", "--deliver", f"command:cat; sleep 1000; {gate}")
    wait_until(lambda: len(still_running(1, 1)) > 1)
    process.kill()
    process.wait()
    line = gitlab.refusal("--resume", "1", "--yes", "--deliver", "command:cat", status=3)
    said, typed = line.split(" → to end it: ")
    assert "still running, as processes" in said
    subprocess.run(typed, shell=True, check=True)
    ended(process)
    wait_until(lambda: not still_running(1, 1))
    gitlab.done("--resume", "1", "--deliver", f"file:{gitlab.folder}/token")
