"""`rotate --new-owner`: an employee leaves, and what her tokens do goes on in a service account's hands."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.testbed import logs
from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_organization,
    make_project,
    make_token,
    make_user,
)
from tests.testbed.gitlab_api import GitLabApi, gitlab_api
from tests.testbed.logs import Use
from tests.testbed.marks import slow_ones
from tests.testbed.processes import Gate, ended, wait_until
from tests.testbed.program import CHECKOUT, GITLAB_TOKENS
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.delivery.processes import still_running
from tokens.gitlab.api import VerificationFailed, verify
from tokens.gitlab.digest import Keys
from tokens.secret import Secret

# In one worker with those of test_rotate.py, which have the same runs and tokens.
pytestmark = pytest.mark.xdist_group("deliveries")

KEYS = Keys.of(["a1b2c3d4" * 16])
TODAY = datetime.now(UTC).date()
SOON = TODAY + timedelta(20)
NEXT_YEAR = TODAY + timedelta(365)
OLD = Secret("glpat-al1ces0ldt0ken_al1ce5")
NIGHTLY, BACKUP, OF_INVENTORY, OF_BOT = 1, 2, 3, 4

ROW = """
    SELECT
      t.name, t.scopes, t.user_id, t.revoked, CAST(t.expires_at AS text) AS expires_at, t.user_type, t.group_id,
      t.organization_id, t.description, t.previous_personal_access_token_id AS previous, u.username AS account
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    WHERE t.id = :id
"""
IDS = "SELECT id FROM public.personal_access_tokens ORDER BY id"


@dataclass
class GitLab:
    """A GitLab that alice leaves: its database, its API, and a folder for what is delivered."""

    address: Address
    api: GitLabApi
    folder: Path

    def words(self, *words: object) -> list[str]:
        """A rotation with the secrets and GitLab's URL."""
        path = self.folder / "secrets.yml"
        path.write_text(json.dumps({"production": {"db_key_base": [key.reveal() for key in KEYS.values]}}))
        return ["rotate", *map(str, words), "--secrets-file", str(path), "--verify", self.api.url]

    @property
    def variables(self) -> dict[str, str]:
        path = f"{Path(GITLAB_TOKENS).parent}{os.pathsep}{os.environ['PATH']}"
        return {"INVOKE_TOKENS_TARGET": url(self.address), "PATH": path}

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return call_here(GITLAB_TOKENS, *map(str, words), env=self.variables)

    def done(self, *words: object) -> str:
        """What it prints where it ends well and complains about nothing."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def rotated(self, *words: object) -> str:
        return self.done(*self.words("--new-owner", "deploy", *words, "--yes"))

    def refused(self, *words: object, status: int) -> str:
        """The one line that a rotation ends with that has made nothing."""
        before = self.ids()
        done = self.run(*self.words(*words))
        assert done.returncode == status, done
        assert self.ids() == before
        (line,) = done.stderr.splitlines()
        return line

    def notes(self, *words: object) -> list[str]:
        """Those of a plan, also of one that a guard refuses."""
        done = self.run(*self.words("--new-owner", "deploy", *words, "--dry-run", "--output", "json"))
        assert done.returncode in (0, 3)
        return [note["text"] for note in json.loads(done.stdout)["plan"]["notes"]]

    def execute(self, statement: str, **values: object) -> None:
        with make_engine(self.address).begin() as connection:
            connection.execute(sa.text(statement), values)

    def row(self, token: int) -> Any:
        with make_engine(self.address).connect() as connection:
            return connection.execute(sa.text(ROW), {"id": token}).one()

    def value(self, statement: str, **parameters: object) -> Any:
        with make_engine(self.address).connect() as connection:
            return connection.execute(sa.text(statement), parameters).scalar_one()

    def ids(self) -> list[int]:
        with make_engine(self.address).connect() as connection:
            return list(connection.execute(sa.text(IDS)).scalars())

    def accepts(self, path: Path) -> int | None:
        """The id of the token that GitLab takes this for, None where it takes it for none."""
        try:
            return verify(self.api.url, Secret(path.read_text()), attempts=1).id
        except VerificationFailed:
            return None


@pytest.fixture
def gitlab(alone: Alone, tmp_path: Path) -> Iterator[GitLab]:
    """alice has two tokens and is a member of three places, of two of which the service account deploy is one, too."""
    with alone.database(journal=True) as address, gitlab_api(address, KEYS) as api:
        with make_engine(address).begin() as connection:
            platform = make_group(connection, path="platform")
            tools = make_project(connection, path="tools", namespace_id=platform)
            billing = make_project(connection, path="api", namespace_id=make_group(connection, path="billing"))
            alice = make_user(connection, username="alice")
            deploy = make_user(connection, username="deploy", user_type=13, provisioned_by_group_id=platform)
            make_user(connection, username="deployer", user_type=0)
            bot = make_user(connection, username="project_1_bot", user_type=6)
            inventory = make_user(connection, username="inventory", user_type=13)
            make_membership(connection, user_id=alice, group_id=platform, access_level=30)
            make_membership(connection, user_id=alice, project_id=tools, access_level=30)
            make_membership(connection, user_id=alice, project_id=billing, access_level=40)
            make_membership(connection, user_id=deploy, group_id=platform, access_level=30)
            make_membership(connection, user_id=deploy, project_id=billing, access_level=20)
            make_membership(connection, user_id=bot, project_id=tools)
            make_token(
                connection,
                user_id=alice,
                name="nightly",
                expires_at=SOON,
                scopes="---\n- api\n- read_user\n",
                description="runs at night",
                token_digest=KEYS.digest_with_current(OLD),
            )
            make_token(connection, user_id=alice, name="backup", expires_at=SOON)
            make_token(connection, user_id=inventory, name="reads", expires_at=SOON)
            make_token(connection, user_id=bot, name="bot", expires_at=SOON)
        yield GitLab(address, api, tmp_path)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_a_persons_token_is_replaced_by_one_of_a_service_account(gitlab: GitLab) -> None:
    path = gitlab.folder / "new"
    said = gitlab.rotated("--token", NIGHTLY, "--deliver", f"file:{path}")
    new = gitlab.accepts(path)
    assert new == 5
    assert "Owner:   the service account deploy, from now on" in said
    assert f'alice, "nightly" (id 1): the new token has id {new}, belongs to deploy and expires {NEXT_YEAR}' in said
    assert "[ ] deploy is a member, with the role that it takes, where the old token worked." in said
    old, row = gitlab.row(NIGHTLY), gitlab.row(new)
    assert old.revoked
    kept = ("name", "scopes", "description", "organization_id")
    assert [getattr(row, name) for name in kept] == [getattr(old, name) for name in kept]
    assert (row.account, row.user_type, row.expires_at) == ("deploy", 13, str(NEXT_YEAR))
    # The group at the top of what has made the account, as GitLab fills it in.
    assert row.group_id == gitlab.value("SELECT id FROM namespaces WHERE path = 'platform'")
    # GitLab does not know, so alice cannot make it revoke the new one with her old one; the journal knows.
    assert row.previous is None
    (listed,) = json.loads(gitlab.done("history", "--run", "1", "-o", "json"))["rotations"]
    assert (listed["id"], listed["account"], listed["successor_id"], listed["new_account"]) == (1, "alice", 5, "deploy")
    run = gitlab.done("history", "--run", "1")
    assert "5 of deploy" in run
    assert "1 token of alice, to deploy" in run
    whose = call_here(
        GITLAB_TOKENS,
        *("whose", "--secrets-file", str(gitlab.folder / "secrets.yml"), "--output", "json"),
        stdin=OLD.reveal(),
        env=gitlab.variables,
    )
    assert json.loads(whose.stdout)["tokens"][0]["replaced_by"] == [new]
    # Whoever rotates it again is told so, as of any token.
    gitlab.execute("UPDATE personal_access_tokens SET revoked = false WHERE id = 1")
    again = gitlab.refused("--token", NIGHTLY, "--new-owner", "deploy", "--dry-run", status=3)
    assert "Token 1 of alice was rotated already, and its successor 5 works" in again


def test_many_that_are_left_out_for_one_reason_are_said_in_one_line(gitlab: GitLab) -> None:
    with make_engine(gitlab.address).begin() as connection:
        for number in range(7):
            user = make_user(connection, username=f"gone{number}", state="blocked")
            make_token(connection, user_id=user, expires_at=SOON)
    done = gitlab.run(*gitlab.words("--kind", "personal", "--within", "30d", "--dry-run", "--output", "json"))
    texts = [note["text"] for note in json.loads(done.stdout)["plan"]["notes"]]
    (said,) = (text for text in texts if "gone" in text)
    assert re.match(r"Left out: 7 tokens \(\d+ of gone0, .* and 2 more\)\. Each does not work and neither would ", said)


def test_all_of_a_persons_tokens_go_over_at_once_and_the_others_are_left_out_with_the_reason(gitlab: GitLab) -> None:
    gitlab.execute("UPDATE users SET state = 'blocked' WHERE username = 'alice'")
    ids = gitlab.folder / "ids"
    ids.write_text("1 2 3 4")
    said = gitlab.rotated("--ids", ids, "--deliver", f"file:{gitlab.folder}/{{account}}-{{token_id}}")
    assert said.count("belongs to deploy") == 2
    for left_out in ("Token 3 of inventory", "Token 4 of project_1_bot"):
        assert f"NOTE: Left out: {left_out} is no person's, and --new-owner takes people's tokens alone" in said
    # It is the person who is blocked, and not who owns the new ones.
    assert "alice is not active, so nothing works with the old tokens now. With the new ones it does again." in said
    assert [gitlab.accepts(gitlab.folder / f"deploy-{number}") for number in (NIGHTLY, BACKUP)] == [5, 6]


def test_a_plan_says_where_the_account_is_no_member_and_adds_none(gitlab: GitLab) -> None:
    members = gitlab.value("SELECT count(*) FROM members")
    notes = gitlab.notes("--user", "alice")
    # A membership in a group counts below it; one with a lower role does not.
    assert "deploy is no member, or has a lower role, in 1 project or group: billing/api (alice: Maintainer)." in notes
    assert any(note.startswith("deploy was made by platform, and GitLab may not let it") for note in notes)
    assert any("GitLab gets no record of what replaces what" in note for note in notes)
    gitlab.execute("UPDATE members SET access_level = 40")
    notes = gitlab.notes("--user", "alice")
    assert not any("is no member" in note for note in notes)
    assert any("what deploy is a member of" in note for note in notes)
    assert gitlab.value("SELECT count(*) FROM members") == members


def test_an_account_that_reaches_nothing_or_everything_is_guarded(gitlab: GitLab) -> None:
    to = ("--token", NIGHTLY, "--new-owner", "deploy", "--deliver", f"file:{gitlab.folder}/new", "--yes")
    gitlab.execute("UPDATE members SET expires_at = current_date - 1")
    assert "--allow no-membership" in gitlab.refused(*to, status=3)
    none = (
        "deploy is a member of no project and no group, so a new token reaches what is public alone: what works with "
    )
    assert f"{none}the old one stops at once." in gitlab.notes("--user", "alice")
    # With a grace the old one goes on working for now.
    notes = gitlab.notes("--user", "alice", "--grace", "7d")
    assert "Until the grace ends alice can use the old tokens, too." in notes
    assert f"{none}the old one stops when the grace ends." in notes
    gitlab.execute("UPDATE users SET admin = true WHERE username = 'deploy'")
    assert "--allow administrator" in gitlab.refused(*to, status=3)
    notes = gitlab.notes("--user", "alice")
    assert "deploy is an administrator, and alice is not: a new token may do more than the old one." in notes
    gitlab.rotated("--token", NIGHTLY, "--deliver", f"file:{gitlab.folder}/new", "--allow", "administrator")
    gitlab.execute("UPDATE users SET admin = username = 'alice'")
    notes = gitlab.notes("--user", "alice")
    assert "alice is an administrator, and deploy is not: what takes one fails with the new tokens." in notes


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("impersonation = true", "is an impersonation token, with which an administrator acts as that person"),
        ("granular = true", "is fine-grained, and what it may do is worded for its owner"),
        ("sudo = true", "has sudo, which GitLab gives administrators alone, and deploy is none"),
        ("scopes = '---\n- api\n- admin_mode\n'", "has admin_mode, which GitLab gives administrators alone"),
        ("organization_id = 1007", "is of organization 1007, and deploy of 1: choose a service account"),
        ("revoked = true", "is revoked: a revoked token gets no successor"),
    ],
)
def test_what_cannot_go_over_is_refused_with_its_reason(gitlab: GitLab, columns: str, reason: str) -> None:
    with make_engine(gitlab.address).begin() as connection:
        make_organization(connection, id=1007)
    gitlab.execute("UPDATE users SET admin = true WHERE username = 'alice'")
    gitlab.execute(f"UPDATE personal_access_tokens SET {columns} WHERE id = 1")
    assert f"Token 1 of alice {reason}" in gitlab.refused("--token", 1, "--new-owner", "deploy", "--dry-run", status=3)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--user", "alice", "--new-owner", "deplyo"), 2, 'no service account "deplyo" (did you mean "deploy"?).'),
        (("--user", "alice", "--new-owner", "deployer"), 2, "takes a service account, and deployer is a person"),
        (("--user", "alice", "--new-owner", "project_1_bot"), 2, "and project_1_bot is a bot of GitLab's"),
        (("--new-owner", "deploy"), 2, "--new-owner has to know whose tokens: use --user USERNAME"),
        (("--service-account", "inventory", "--new-owner", "deploy"), 2, "use --user."),
        (("--resume", "1", "--new-owner", "deploy"), 2, "leave --new-owner out"),
        (("--user", "alice", "--new-owner", ""), 2, "--new-owner was given nothing"),
    ],
)
def test_wrong_use_is_one_line(gitlab: GitLab, words: tuple[str, ...], status: int, said: str) -> None:
    assert said in gitlab.refused(*words, "--dry-run", status=status)


def test_an_account_that_does_not_work_gets_no_token(gitlab: GitLab) -> None:
    gitlab.execute("UPDATE users SET state = 'deactivated' WHERE username = 'deploy'")
    words = ("--user", "alice", "--new-owner", "deploy")
    assert "The service account deploy is deactivated, so no token of it would work" in gitlab.refused(
        *words, "--dry-run", status=3
    )


@pytest.mark.parametrize("step", ["delivered", *slow_ones("created", "verified", "marked")])
def test_a_process_that_is_killed_between_two_steps_is_resumed_to_the_same_owner(
    gitlab: GitLab, gate: Gate, step: str
) -> None:
    run = 60  # no other test has it
    gitlab.value("SELECT setval(pg_get_serial_sequence('token_tasks.runs', 'id'), :run, false)", run=run)
    vault = gitlab.folder / "vault"
    after = f"cat > {vault}; {gate}"
    command = {"created": "cat", "verified": f"{gate}; cat > {vault}", "delivered": after, "marked": after}[step]
    if step == "created":
        gitlab.api.hang(1)
    words = ("--token", NIGHTLY, "--new-owner", "deploy", "--yes", "--deliver", f"command:{command}")
    process = subprocess.Popen(
        [GITLAB_TOKENS, *gitlab.words(*words)],
        cwd=CHECKOUT,
        env={**os.environ, **gitlab.variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if step == "created":
        wait_until(lambda: gitlab.api.requests > 0)
    else:
        gate.wait()
    with psycopg.connect(gitlab.address.conninfo) as other:
        if step == "marked":
            other.execute("SELECT FROM personal_access_tokens WHERE id = 1 FOR UPDATE")
            gate.open()
            wait_until(lambda: gitlab.value("SELECT state FROM token_tasks.rotations") == "delivered")
        process.kill()
        if step in ("verified", "delivered"):
            gate.open()
        ended(process)
    wait_until(lambda: not still_running(run, NIGHTLY))
    assert not gitlab.row(NIGHTLY).revoked

    again = [] if step == "marked" else ["--deliver", f"command:cat > {vault}.new"]
    said = gitlab.done(*gitlab.words("--resume", run, "--yes", *again))
    assert "Owner:   the service account deploy, from now on" in said
    new = gitlab.accepts(vault if step == "marked" else vault.with_name("vault.new"))
    assert new == gitlab.ids()[-1]
    assert (gitlab.row(new).account, gitlab.row(NIGHTLY).revoked) == ("deploy", True)
    assert gitlab.value("SELECT count(*) FROM personal_access_tokens WHERE name = 'nightly' AND NOT revoked") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("state = 'blocked'", "The service account deploy is blocked, so no token of it would work"),
        ("user_type = 0", "There is no service account deploy any more, so nothing was made"),
    ],
)
def test_an_account_that_goes_between_plan_and_token_gets_none(
    gitlab: GitLab, gate: Gate, change: str, said: str
) -> None:
    vault = gitlab.folder / "vault"
    process = subprocess.Popen(
        [
            GITLAB_TOKENS,
            *gitlab.words("--user", "alice", "--new-owner", "deploy", "--yes"),
            "--deliver",
            f"command:cat > {vault}; test -e {gitlab.folder}/opened.once || {{ {gate}; }}",
        ],
        cwd=CHECKOUT,
        env={**os.environ, **gitlab.variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    gate.wait()
    gitlab.execute(f"UPDATE users SET {change} WHERE username = 'deploy'")
    gate.open()
    status, _, errors = ended(process)
    assert status == 4
    assert said in errors
    assert len(gitlab.ids()) == 4 + 1


def stopped(gitlab: GitLab) -> list[str]:
    """The names of the tokens that stop if alice is blocked."""
    found = json.loads(gitlab.done("simulate", "--block-user", "alice", "-o", "json"))["tokens"]
    return [token["name"] for token in found if token["difference"] == "change"]


def test_the_whole_day_on_which_somebody_leaves(gitlab: GitLab) -> None:
    log = gitlab.folder / "api_json.log"
    day = datetime.now(UTC).date() - timedelta(1)
    used = logs.written([Use(NIGHTLY, 48, address="10.0.0.7", agent="Jenkins/2.440")], [day])
    logs.plain(log, used.days[day])

    # What does she have, and what of it is used?
    listed = gitlab.done("list", "--user", "alice", "--output", "csv")
    assert [row.split(",")[0] for row in listed.splitlines()[1:]] == ["1", "2"]
    use = json.loads(gitlab.done("used", "--user", "alice", "--log", log, "-o", "json"))
    assert [(one["id"], one["calls"]) for one in use["tokens"]] == [(1, 48)]
    assert "Jenkins" in json.dumps(use)

    # What would stop if she were blocked now?
    assert stopped(gitlab) == ["nightly", "backup"]
    said = gitlab.done("simulate", "--block-user", "alice", "--user", "alice", "--log", log, "-o", "json")
    assert json.loads(said)["in_use"]["used"] == 1

    # Somebody makes deploy a member of billing/api, and what is used goes over.
    to = ("--user", "alice", "--name", "nightly", "--deliver", f"file:{gitlab.folder}/{{account}}.token")
    assert any("in 1 project or group: billing/api" in note for note in gitlab.notes(*to))
    gitlab.execute("UPDATE members SET access_level = 40 WHERE access_level = 20")
    assert "is no member" not in " ".join(gitlab.notes(*to, "--log", log))
    said = gitlab.rotated(*to, "--reason", "alice leaves")
    assert "Rotated 1 of 1 token" in said
    new = gitlab.accepts(gitlab.folder / "deploy.token")
    assert new is not None
    assert gitlab.row(new).account == "deploy"

    # Something still tries hers, and it is known what replaced it.
    tried = logs.written([Use(NIGHTLY, 3, refused=logs.Reason.REVOKED)], [day])
    logs.plain(log, tried.days[day])
    tries = json.loads(gitlab.done("used", "--top-refused", "--log", log, "-o", "json"))["tokens"]
    assert [(one["id"], one["replaced_by"]) for one in tries] == [(NIGHTLY, new)]

    # Now she can be blocked: of what is hers and used nothing is left.
    assert stopped(gitlab) == ["backup"]
    gitlab.execute("UPDATE users SET state = 'blocked' WHERE username = 'alice'")
    assert gitlab.accepts(gitlab.folder / "deploy.token") == new
    assert "alice leaves" in gitlab.done("history")
