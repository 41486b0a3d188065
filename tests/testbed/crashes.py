"""A run that is killed at any moment, and what must hold afterwards, whenever it was."""

import os
import random
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_membership, make_project, make_tokens, make_updates_slow, make_user
from tests.testbed.journal import assert_that_the_chain_holds
from tests.testbed.program import CHECKOUT, GITLAB_TOKENS
from tests.testbed.replication import restart
from tests.testbed.runs import apply, begin_run, everything, execute, install, query, undo
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import CHUNK
from tokens.change.plan import RunKind, make_plan
from tokens.errors import ExitStatus
from tokens.gitlab.expiration import ExpirationDate
from tokens.run.batches import BatchCommitted, Finished, run
from tokens.selection import DateRange, Selection
from tokens.targets.demo.embedded import Server

TOKENS = 6_000

FEW = 4  # kills on a server that is not the newest: a proof there

BOT = 6

FIRST, LAST, NEW = "2099-06-15", "2099-06-17", "2100-06-15"

EXTEND = ("extend", "--expires", f"{FIRST}..{LAST}", "--state", "active,revoked", "--to", NEW, "--yes")

REVOKE = ("revoke", "--expires", f"{FIRST}..{LAST}", "--state", "active,expired", "--yes")

TABLE = """
    SELECT
      id, user_id, revoked, CAST(updated_at AS text) AS updated_at, CAST(expires_at AS text) AS expires_at,
      expire_notification_delivered, after_expiry_notification_delivered,
      CAST(seven_days_notification_sent_at AS text), CAST(thirty_days_notification_sent_at AS text),
      CAST(sixty_days_notification_sent_at AS text)
    FROM public.personal_access_tokens
"""

MEMBERS = "SELECT id, user_id, CAST(expires_at AS text) AS expires_at FROM public.members"

RUNS = """
    SELECT r.id, r.undoes, r.notices, CAST(r.change ->> 'revokes' AS boolean) AS revokes
    FROM token_tasks.runs r
    ORDER BY r.id
"""

CHUNKS = """
    SELECT
      run_id, position, token_ids, CAST(new_expires_at AS text) AS new, left_alone, locked
    FROM token_tasks.chunks
    WHERE done_at IS NOT NULL
    ORDER BY run_id, position
"""

KEPT_NOTICES = "SELECT run_id, token_ids FROM token_tasks.notices"

KEPT_MEMBERSHIPS = """
    SELECT
      run_id, position, member_ids, CAST(old_expires_at AS text[]) AS old, CAST(new_expires_at AS text) AS new
    FROM token_tasks.memberships
"""

KEPT_REVOCATIONS = """
    SELECT
      n.run_id, n.position, kept.id, kept.revoked, CAST(kept.updated_at AS text) AS updated_at,
      CAST(n.revoked_at AS text) AS revoked_at
    FROM token_tasks.revocations n
    CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
"""

OURS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database()
      AND application_name = 'gitlab-tokens'
      AND pid <> pg_backend_pid()
      AND state <> 'idle'
"""

Row = tuple[Any, ...]

SILENT: Row = (False, False, None, None, None)


def fill(address: Address, tokens: int = TOKENS) -> None:
    """Tokens of people and of bots over three dates and one more, some revoked, some warned about, with a journal.

    Of those that are not revoked some have false, some NULL.
    """
    install(address)
    with make_engine(address).begin() as connection:
        project = make_project(connection)
        for number in range(40):
            bot = make_user(connection, user_type=BOT)
            end = None if number % 8 == 0 else "2101-01-01" if number >= 30 else f"2099-06-{number + 1:02}"
            make_membership(connection, user_id=bot, project_id=project, expires_at=end)
            make_tokens(connection, tokens // 160, expires_at=FIRST, user_id=bot)
        for _ in range(3):
            make_tokens(connection, tokens // 4, expires_at=FIRST)
        connection.execute(
            sa.text("""
                UPDATE public.personal_access_tokens
                SET
                  expires_at = CASE WHEN id % 13 = 0 THEN '2099-08-01' ELSE expires_at + CAST(id % 3 AS integer) END,
                  revoked = CASE WHEN id % 11 = 0 THEN true WHEN id % 3 = 0 THEN false END,
                  updated_at = timestamp '2024-01-01 00:00:00.123456' + CAST(id AS integer) * interval '1 minute',
                  expire_notification_delivered = id % 5 = 0,
                  after_expiry_notification_delivered = id % 17 = 0,
                  seven_days_notification_sent_at = CASE WHEN id % 5 = 0 THEN timestamptz '2099-06-08 01:00:00.1Z' END,
                  thirty_days_notification_sent_at = CASE WHEN id % 4 = 0 THEN timestamptz '2099-05-15 01:00+00' END
            """)
        )
        connection.execute(sa.text("ANALYZE public.personal_access_tokens"))


@dataclass(frozen=True)
class Snapshot:
    """The tables as they are at one moment."""

    tokens: dict[int, Row]  # date and the five notices
    revocations: dict[int, Row]  # whether it is revoked, false and NULL apart, and `updated_at`
    members: dict[int, str | None]
    owners: dict[int, int]  # by token, of those that are not revoked
    users: dict[int, int]  # by membership

    @classmethod
    def of(cls, address: Address) -> "Snapshot":
        found, members = query(address, TABLE), query(address, MEMBERS)
        return cls(
            {row.id: tuple(row[4:]) for row in found},
            {row.id: (row.revoked, row.updated_at) for row in found},
            {row.id: row.expires_at for row in members},
            {row.id: row.user_id for row in found if row.revoked is not True},
            {row.id: row.user_id for row in members},
        )


def check_agreement(address: Address, before: Snapshot) -> None:
    """Table and journal must agree row for row: what the journal says, told over `before`, is what the table has.

    And whatever has happened, the journal's chain holds.
    """
    assert_that_the_chain_holds(address)
    runs, chunks = query(address, RUNS), query(address, CHUNKS)
    kept_notices: defaultdict[int, set[int]] = defaultdict(set)
    kept_memberships: defaultdict[int, list[Any]] = defaultdict(list)
    for row in query(address, KEPT_NOTICES):
        assert not kept_notices[row.run_id].intersection(row.token_ids)
        kept_notices[row.run_id].update(row.token_ids)
    for row in query(address, KEPT_MEMBERSHIPS):
        kept_memberships[row.run_id].append(row)
    kept_revocations: defaultdict[int, dict[int, Any]] = defaultdict(dict)
    for row in query(address, KEPT_REVOCATIONS):
        assert row.id not in kept_revocations[row.run_id]
        kept_revocations[row.run_id][row.id] = row
    tokens, members, revocations = dict(before.tokens), dict(before.members), dict(before.revocations)
    members_of = defaultdict(list)
    for member, user in before.users.items():
        members_of[user].append(member)

    for one in runs:
        changed: dict[int, set[int]] = {}
        warned: set[int] = set()
        for chunk in (chunk for chunk in chunks if chunk.run_id == one.id):
            others = {*(chunk.left_alone or ()), *(chunk.locked or ())}
            assert others <= set(chunk.token_ids)
            changed[chunk.position] = set(chunk.token_ids) - others
            for number in changed[chunk.position]:
                if one.revokes:
                    assert tokens[number][0] == chunk.new
                    kept = kept_revocations[one.undoes or one.id][number]
                    was, revoked = (kept.revoked, kept.updated_at), (True, kept.revoked_at)
                    old, new = (revoked, was) if one.undoes else (was, revoked)
                    assert revocations[number] == old
                    revocations[number] = new
                elif one.undoes:
                    tokens[number] = before.tokens[number]
                    assert tokens[number][0] == chunk.new
                else:
                    if tokens[number][1:] != SILENT:
                        warned.add(number)
                    tokens[number] = (chunk.new, *(SILENT if one.notices else tokens[number][1:]))
        if one.revokes:
            assert one.undoes or set(kept_revocations[one.id]) == set().union(*changed.values())
            continue
        owners = {place: {before.owners[id_] for id_ in ids if id_ in before.owners} for place, ids in changed.items()}
        if one.undoes:
            # A chunk of an undo may be a part of the one that it undoes.
            places = [chunk.position for chunk in chunks if chunk.run_id == one.undoes]
            undone: defaultdict[int, set[int]] = defaultdict(set)
            for place, some in owners.items():
                undone[max(position for position in places if position <= place)] |= some
            for kept in kept_memberships[one.undoes]:
                users = undone[kept.position]
                for member, old in zip(kept.member_ids, kept.old, strict=True):
                    if before.users[member] in users and members[member] == kept.new:
                        members[member] = old
        else:
            assert kept_notices[one.id] == warned
            for kept in kept_memberships[one.id]:
                for member, old in zip(kept.member_ids, kept.old, strict=True):
                    assert before.users[member] in owners[kept.position]
                    assert members[member] == old
                    members[member] = kept.new
            for users in owners.values():
                ends = [members[member] for user in users for member in members_of[user]]
                assert all(end is None or end >= NEW for end in ends)

    now = Snapshot.of(address)
    assert now.tokens == tokens
    assert now.revocations == revocations
    assert now.members == members


def wait_for(address: Address, statement: str, expected: Callable[[Any], bool], **parameters: object) -> None:
    """Until what `statement` returns is as expected."""
    deadline = time.monotonic() + 60
    with make_engine(address).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not expected(connection.execute(sa.text(statement), parameters).scalar_one()):
            assert time.monotonic() < deadline, statement
            connection.execute(sa.text("SELECT pg_sleep(0.01)"))


@contextmanager
def program(address: Address, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The real program, at work on this database."""
    command = [GITLAB_TOKENS, words[0], "--target", url(address), *words[1:]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")}
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def finish(address: Address, *words: str, status: ExitStatus = ExitStatus.DONE) -> str:
    """The program to its end; what it says on standard error."""
    with program(address, *words) as child:
        output, errors = child.communicate(timeout=120)
        assert child.returncode == status, output + errors
        return errors


def what_is_next(address: Address, change: tuple[str, ...] = EXTEND) -> tuple[str, ...]:
    """Change, go on until that is done, undo, go on until that is done, and again; only the journal knows."""
    last = query(address, "SELECT id, kind, state FROM token_tasks.runs ORDER BY id DESC LIMIT 1")
    if not last or (last[0].kind, last[0].state) == ("undo", "done"):
        return change
    if last[0].state == "done":
        return to_undo(last[0].id, change)
    return ("apply", "--run", str(last[0].id), "--yes")


def to_undo(run: int, change: tuple[str, ...]) -> tuple[str, ...]:
    """What takes back a run of this change."""
    return ("undo", "--run", str(run), "--yes", *(("--allow", "reviving") if change[0] == "revoke" else ()))


class Killer:
    """Kills the program at random moments between its plan and its end."""

    def __init__(
        self,
        address: Address,
        *,
        through: Address | None = None,
        seed: int | None = None,
        change: tuple[str, ...] = EXTEND,
        jobs: int = 1,
    ) -> None:
        self.address = address
        self.change = change
        self.jobs = ("--jobs", str(jobs))
        self.through = through or address
        self.seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        self.kills = 0
        self._random = random.Random(self.seed)
        self._span = 2.0  # seconds that a run takes

    def kill(self) -> None:
        """Let the program do what is next, and kill it unless it is done before."""
        words = what_is_next(self.address, self.change)
        with program(self.through, *words, *self.jobs) as child:
            assert child.stdout
            assert child.stderr
            first = child.stdout.readline()
            assert first, child.stderr.read()
            began = time.monotonic()
            try:
                status = child.wait(timeout=self._random.uniform(0, self._span))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                self.kills += 1
                early = not query(self.address, "SELECT FROM token_tasks.runs WHERE state = 'running'")
                # A run that was once quick must not make all later kills come too early.
                self._span *= 1.5 if early else 1
            else:
                assert status == 0, child.stderr.read()
                self._span = max(0.2, time.monotonic() - began)
        # The server's process notices it at the end of its statement.
        wait_for(self.address, OURS, lambda sessions: sessions == 0)

    @property
    def met(self) -> int:
        """How many of the kills have met a run; the others came before it began, or when it had just ended."""
        dead = "SELECT count(*) FROM token_tasks.attempts WHERE stopped_because = 'the process is dead'"
        return int(query(self.address, dead)[0][0])

    def check(self, kills: int, met: int = 0) -> None:
        """So many kills at least, of which some have `met` a run.

        After each of them table and journal agree, and in the end everything is as it was.
        """
        print(f"seed {self.seed}")
        before, checksums = Snapshot.of(self.address), everything(self.address)
        while self.kills < kills or (met and self.met < met):
            self.kill()
            check_agreement(self.address, before)
        while (words := what_is_next(self.address, self.change)) != self.change:
            finish(self.through, *words, *self.jobs)
        check_agreement(self.address, before)
        assert everything(self.address) == checksums


def check_crash(
    gitlab_database: Address,
    through: Address,
    server: Server,
    superuser: Callable[[Address], Address],
    change: tuple[str, ...] = EXTEND,
    jobs: int = 1,
) -> None:
    fill(gitlab_database)
    before, checksums = Snapshot.of(gitlab_database), everything(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        make_updates_slow(connection, seconds=0.001)
    with make_engine(superuser(gitlab_database)).connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("CHECKPOINT"))
    with program(through, *change, "--jobs", str(jobs)) as child:
        # More than a transaction has at first: the program knows then that the first one is committed, and keeps it
        # over a crash although these servers are set not to.
        changes = "SELECT COALESCE(sum(changed), 0) FROM token_tasks.runs"
        wait_for(gitlab_database, changes, lambda changed: changed > CHUNK)
        postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split("\n")[0])
        os.kill(postmaster, signal.SIGQUIT)  # what `pg_ctl -m immediate stop` sends
        while (server.folder / "data" / "postmaster.pid").exists() and server.running():
            pass
        # A pooler lets its clients wait for the server to come back.
        restart(server)
        output, errors = child.communicate(timeout=60)
    assert "Traceback" not in errors
    check_agreement(gitlab_database, before)
    [(changed,)] = query(gitlab_database, "SELECT changed FROM token_tasks.runs")
    execute(gitlab_database, "DROP TRIGGER dawdle ON public.personal_access_tokens")
    if child.returncode == ExitStatus.DONE:
        # A pooler has hidden a crash between two transactions.
        assert through != gitlab_database
        assert f"Recounted: {changed:,} of {changed:,} token" in output
    else:
        assert child.returncode == ExitStatus.PARTIAL, output + errors
        last = errors.strip().split("\n")[-1]
        assert "were changed and stay so. → to go on: " in last
        assert 0 < changed < len(before.tokens)
        told = re.search(r"([\d,]+) of [\d,]+ token", last)
        assert told
        assert 0 < int(told[1].replace(",", "")) <= changed
        finish(gitlab_database, "apply", "--run", "1", "--yes")
    check_agreement(gitlab_database, before)
    finish(gitlab_database, *to_undo(1, change))
    check_agreement(gitlab_database, before)
    assert everything(gitlab_database) == checksums


def check_others(gitlab_database: Address, through: Address) -> None:
    fill(gitlab_database, 3 * CHUNK)
    dates = DateRange(ExpirationDate.typed(FIRST), ExpirationDate.typed(LAST))
    plan = make_plan(through, RunKind.EXTEND, Selection((dates,)), Change(ExpirationDate.typed(NEW)))
    ids = [id_ for chunk in plan.chunks for id_ in chunk.ids]
    assert plan.memberships
    assert plan.notices
    changed, deleted, locked = ids[-30:-20], ids[-20:-10], ids[-10:]
    record = begin_run(through, plan)
    others = make_engine(gitlab_database).connect()
    events = run(through, plan, record, pause=lambda seconds: None)
    for event in events:
        if isinstance(event, BatchCommitted):
            break
    execute(
        gitlab_database, "UPDATE personal_access_tokens SET expires_at = '2099-12-24' WHERE id = ANY(:ids)", ids=changed
    )
    execute(gitlab_database, "DELETE FROM personal_access_tokens WHERE id = ANY(:ids)", ids=deleted)
    others.execute(sa.text("SELECT FROM personal_access_tokens WHERE id = ANY(:ids) FOR UPDATE"), {"ids": locked})
    *_, end = events
    assert end == Finished(changed=plan.tokens - 30, changed_meanwhile=20, locked=10)
    assert query(
        gitlab_database,
        """
        SELECT array_agg(id ORDER BY id) AS ids, kind
        FROM token_tasks.chunks c,
          LATERAL (SELECT unnest(c.left_alone) AS id, 'left' AS kind UNION ALL SELECT unnest(c.locked), 'locked') one
        GROUP BY kind ORDER BY kind
        """,
    ) == [(sorted([*changed, *deleted]), "left"), (sorted(locked), "locked")]
    now = Snapshot.of(gitlab_database).tokens
    assert {now[id_][0] for id_ in changed} == {"2099-12-24"}
    assert {now[id_][0] for id_ in locked} <= {FIRST, "2099-06-16", LAST}
    others.rollback()
    others.close()
    assert apply(through, record.run) == Finished(changed=10)
    assert undo(through, record.run) == Finished(changed=plan.tokens - 20)
    assert {row[0] for row in Snapshot.of(gitlab_database).tokens.values()} == {
        FIRST,
        "2099-06-16",
        LAST,
        "2099-08-01",
        "2099-12-24",
    }


def check_others_of_a_revocation(gitlab_database: Address, through: Address) -> None:
    """Tokens that get another date, are revoked, deleted or locked by others, of a revocation and of its undo."""
    fill(gitlab_database, 3 * CHUNK)
    before = Snapshot.of(gitlab_database)
    dates = DateRange(ExpirationDate.typed(FIRST), ExpirationDate.typed(LAST))
    plan = make_plan(through, RunKind.REVOKE, Selection((dates,)), Change(revokes=True))
    ids = [id_ for chunk in plan.chunks for id_ in chunk.ids]
    dated, revoked, deleted, locked = ids[-40:-30], ids[-30:-20], ids[-20:-10], ids[-10:]
    record = begin_run(through, plan)
    others = make_engine(gitlab_database).connect()
    lock = sa.text("SELECT FROM personal_access_tokens WHERE id = ANY(:ids) FOR UPDATE")
    touch = "UPDATE personal_access_tokens SET revoked = true, updated_at = '2026-01-01 12:00' WHERE id = ANY(:ids)"
    events = run(through, plan, record, pause=lambda seconds: None)
    for event in events:
        if isinstance(event, BatchCommitted):
            break
    execute(
        gitlab_database, "UPDATE personal_access_tokens SET expires_at = '2099-12-24' WHERE id = ANY(:ids)", ids=dated
    )
    execute(gitlab_database, touch, ids=revoked)
    execute(gitlab_database, "DELETE FROM personal_access_tokens WHERE id = ANY(:ids)", ids=deleted)
    others.execute(lock, {"ids": locked})
    *_, end = events
    assert end == Finished(changed=plan.tokens - 40, changed_meanwhile=30, locked=10)
    others.rollback()
    assert apply(through, record.run) == Finished(changed=10)
    now = Snapshot.of(gitlab_database).revocations
    assert {now[id_] for id_ in revoked} == {(True, "2026-01-01 12:00:00")}
    assert {id_: now[id_] for id_ in dated} == {id_: before.revocations[id_] for id_ in dated}

    # What somebody touches after the run is his; a date is no concern of an undo.
    touched, deleted_since, dated_since = ids[:10], ids[10:20], ids[20:30]
    execute(gitlab_database, touch, ids=touched)
    execute(gitlab_database, "DELETE FROM personal_access_tokens WHERE id = ANY(:ids)", ids=deleted_since)
    execute(
        gitlab_database,
        "UPDATE personal_access_tokens SET expires_at = '2099-12-24' WHERE id = ANY(:ids)",
        ids=dated_since,
    )
    others.execute(lock, {"ids": locked})
    assert undo(through, record.run) == Finished(changed=plan.tokens - 60, changed_meanwhile=20, locked=10)
    others.rollback()
    others.close()
    assert apply(through, record.run + 1) == Finished(changed=10)
    now = Snapshot.of(gitlab_database).revocations
    left = {*revoked, *touched}
    gone = {*deleted, *deleted_since}
    assert {id_: row for id_, row in now.items() if id_ not in left} == {
        id_: row for id_, row in before.revocations.items() if id_ not in left | gone
    }
    assert {now[id_] for id_ in left} == {(True, "2026-01-01 12:00:00")}


def check_two_at_once(address: Address, through: Address, change: tuple[str, ...] = EXTEND, jobs: int = 1) -> None:
    """Two processes that want to change different tokens of one table."""
    fill(address, 3_000)
    before, checksums = Snapshot.of(address), everything(address)
    with make_engine(address).begin() as connection:
        make_updates_slow(connection, seconds=0.001)
    selections = (("--expires", FIRST), ("--expires", f"2099-06-16..{LAST}"))
    commands = [(change[0], *expires, *change[3:], "--jobs", str(jobs)) for expires in selections]
    with program(through, *commands[0]) as first, program(through, *commands[1]) as second:
        ended = [child.communicate(timeout=120) for child in (first, second)]
    statuses = sorted([first.returncode, second.returncode])
    assert statuses in ([0, 0], [0, ExitStatus.REFUSED]), ended
    if ExitStatus.REFUSED in statuses:
        assert sum("is under way since" in errors for _, errors in ended) == 1
    check_agreement(address, before)
    execute(address, "DROP TRIGGER dawdle ON public.personal_access_tokens")
    for row in query(address, "SELECT id, state FROM token_tasks.runs WHERE kind <> 'undo' ORDER BY id"):
        if row.state == "planned":
            finish(through, "apply", "--run", str(row.id), "--yes")
    check_agreement(address, before)
    for row in query(address, "SELECT id FROM token_tasks.runs WHERE kind <> 'undo' AND changed > 0 ORDER BY id DESC"):
        finish(through, *to_undo(row.id, change))
    check_agreement(address, before)
    assert everything(address) == checksums
