"""The side of GitLab in this process: beside its database and its secrets."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from tokens import database
from tokens.change.plan import RunKind
from tokens.errors import DatabaseError, ReadOnly, Refused, TokensError, UsageError
from tokens.gitlab.api import Endpoint, VerificationFailed, agrees, verify
from tokens.gitlab.digest import Keys
from tokens.gitlab.kind import Kind, State
from tokens.journal import attempts, beginning, ended, installation, setup
from tokens.journal.ended import SyslogLine
from tokens.journal.installation import JournalMissing, JournalOutdated, RunState
from tokens.journal.opening import TIMEOUTS
from tokens.journal.record import HEARTBEAT, Record
from tokens.origin import Origin
from tokens.rotation import candidate, plan, resumption, retirement, stage, successor
from tokens.rotation.backend import Begun, Made, Question, Retired, Survey, heartbeats, wait
from tokens.rotation.candidate import Candidate
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.resumption import Resumption
from tokens.rotation.retirement import Retirement
from tokens.rotation.stage import Stage
from tokens.rotation.successor import Successor
from tokens.targets import demo
from tokens.targets.here.instance_url import read_instance_url, trusted_certificates
from tokens.targets.here.site import Site
from tokens.targets.keys import keys_of

SOON = 30  # days: what is looked for first where nobody has said which tokens

# What may take long before anything is shown.
FINDING = "Looking for the tokens"
CHECKING = "Looking at the tokens"
PLANNING = "Making the plan"
STARTING = "Starting the demo's stand-in for GitLab's API"


def quietly(_: str) -> AbstractContextManager[None]:
    """Names nothing: for whom nobody listens to."""
    return nullcontext()


class LocalBackend:
    """The backend beside the database of `site`.

    Args:
        site: GitLab's database, and the installation around it where it is right here.
        origin: who carries the run out, for the journal.
        keys: what digests new tokens; without them they are read from the installation's secrets.
        record: the run that was taken on already, if one was.
        announced: names what may take long while it lasts.
        four_eyes: whether the configuration demands that nobody carries out a plan of their own.
    """

    def __init__(
        self,
        site: Site,
        origin: Origin,
        *,
        keys: Keys | None = None,
        record: Record | None = None,
        four_eyes: bool = False,
        announced: Callable[[str], AbstractContextManager[None]] = quietly,
    ) -> None:
        self._site = site
        self._address = site.address
        self._origin = origin
        self._keys = keys
        self._record = record
        self._announced = announced
        self._four_eyes = four_eyes
        self.interval = HEARTBEAT
        self.stop_requested: Callable[[], bool] = lambda: False

    def survey(self, question: Question) -> Survey:
        journal = None if question.dry_run else _fault_of(self._check_journal)
        if not question.dry_run and question.resume is None:
            beginning.check_alone(self._address, RunKind.ROTATE, four_eyes=self._four_eyes)
        if question.unattended and journal is not None and not isinstance(journal, JournalOutdated):
            raise journal
        if question.resume is not None:
            self._check_journal()
            if not question.dry_run:
                beginning.check_planner(self._address, question.resume, self._origin, four_eyes=self._four_eyes)
            remaining = resumption.resumable(self._address, question.resume)
            found = Survey(remaining=remaining, planned_at=resumption.planned_at(self._address, question.resume))
        elif question.chosen:
            found = self._planned(Survey(found=question.chosen), question, question.chosen)
        else:
            found = self._found(question)
            unknown = candidate.unknown_ids(self._address, question.search.selection, found.found)
            found = replace(found, unknown_ids=unknown)
        found = replace(found, journal=journal)
        if not any(one.makes_token for one in found.remaining):
            return found
        if question.asks_url:
            try:
                found = replace(found, url=self._url())
            except TokensError as fault:
                found = replace(found, url_fault=fault)
        return found if question.dry_run else replace(found, keys=_fault_of(self._check_keys))

    def install_journal(self) -> None:
        setup.install(self._address)

    def begin(self, planned: RotationPlan, reason: str | None) -> Begun:
        with database.connect(self._address) as connection:
            self._record = beginning.begin_stored(
                connection,
                RunKind.ROTATE,
                self._origin,
                lambda: stage.store(connection, planned, self._origin, reason),
                four_eyes=self._four_eyes,
            )
        return self._begun(resumption.planned(planned))

    def resume(self, run: int) -> Begun:
        self._record = beginning.resume(self._address, run, self._origin, four_eyes=self._four_eyes)
        # Only now: before it was taken on, somebody else may have gone on with it.
        return self._begun(resumption.resumable(self._address, run))

    def make(self, rotation: Rotation, url: str | None) -> Made:
        keys = self._check_keys()
        with database.connect(self._address) as connection:
            made = successor.create(connection, rotation, keys, run=self._run)
        if url is None:
            return Made(made.id, made.token)
        try:
            with heartbeats(self):
                self._verify(made, url)
            with database.connect(self._address) as connection:
                stage.mark(connection, self._run, rotation.candidate.id, Stage.VERIFIED)
        except VerificationFailed as fault:
            return Made(made.id, None, str(fault), fault.of_token)
        except (DatabaseError, ReadOnly) as fault:
            return Made(made.id, None, str(fault))
        return Made(made.id, made.token)

    def mark(self, token_id: int, reached: Stage, destination: str | None = None) -> None:
        self._mark(token_id, reached, destination, or_later=(reached,))

    def finish(self, rotation: Rotation, delivered: bool) -> Retired:
        token_id = rotation.candidate.id
        if not delivered:
            self._mark(token_id, Stage.DELIVERED, None, or_later=(Stage.DELIVERED, Stage.DONE))
        try:
            with database.connect(self._address) as connection:
                return Retired(retirement.finish(connection, self._run, rotation))
        except TokensError as fault:
            refused = isinstance(fault, Refused) and not isinstance(fault, ReadOnly)
            if refused and (came_to := self._came_to(token_id)):  # by an attempt whose answer was lost
                return Retired(came_to)
            return Retired(None, fault)

    def abandon(self, token_id: int) -> None:
        with database.connect(self._address) as connection:
            retirement.abandon(connection, self._run, token_id)

    def beat(self) -> None:
        with database.connect(self._address) as connection, database.writing(connection, **TIMEOUTS):
            self._run.beat(connection)

    def take_over(self, attempt: int) -> Begun:
        with database.connect(self._address) as connection, database.writing(connection, **TIMEOUTS):
            self._record = attempts.renew(connection, self._run.run, attempt, self._origin)
        return self._begun(())

    def end(self, state: RunState, why: str | None) -> SyslogLine | None:
        with database.connect(self._address) as connection, database.writing(connection, **TIMEOUTS):
            self._run.finish(connection, state, why)
            return ended.line(connection, self._run.run)

    @property
    def _run(self) -> Record:
        if self._record is None:
            raise TypeError("a run is begun before its tokens are made")
        return self._record

    def _found(self, question: Question) -> Survey:
        """What there is, and the plan where nobody has to choose."""
        search = question.search
        near = search if question.selects else replace(search, within=SOON, expired_within=SOON)
        with self._announced(FINDING):
            found = candidate.find(self._address, near)
            widened = not found and not question.selects
            if widened:
                found = candidate.find(self._address, search)
            if not found:
                why = None if question.named else candidate.why_none(self._address, search)
                return Survey(widened=widened, others=self._others(question), why=why)
        survey = Survey(found, widened)
        if question.selects and not question.of_all and len(found) == 1:
            return self._planned(survey, question, found)
        try:
            with self._announced(CHECKING):
                against = plan.obstacles(
                    self._address, found, allow_personal=question.allow_personal, new_owner=question.new_owner
                )
        except TokensError as fault:
            return replace(survey, fault=fault)
        survey = replace(survey, obstacles=against)
        free = survey.free
        decided = bool(free) and (question.of_all or (question.selects and len(free) == 1))
        return self._planned(survey, question, free) if decided else survey

    def _others(self, question: Question) -> tuple[Candidate, ...]:
        if not question.named:
            return ()
        search = question.search
        selection = replace(search.selection, kinds=frozenset(Kind))
        found = candidate.find(self._address, replace(search, selection=selection))
        if found or search.token is None:
            return found
        selection = replace(selection, states=frozenset(State))
        return candidate.find(self._address, replace(search, selection=selection))

    def _planned(self, survey: Survey, question: Question, candidates: Sequence[Candidate]) -> Survey:
        try:
            with self._announced(PLANNING):
                planned = plan.plan(
                    self._address,
                    candidates,
                    expires_in=question.expires_in,
                    grace=question.grace,
                    release=self._site.release,
                    allow_personal=question.allow_personal,
                    new_owner=question.new_owner,
                )
        except TokensError as fault:
            return replace(survey, fault=fault)
        return replace(survey, plan=planned, remaining=resumption.planned(planned))

    def _url(self) -> str:
        if self._site.demo is not None:
            with self._announced(STARTING):
                return demo.start_api(self._site.demo)
        if self._site.installation is None:
            raise UsageError("GitLab's URL is not in its database: use --verify URL.")
        return str(Endpoint.at(read_instance_url(self._site.installation)))

    def _check_keys(self) -> Keys:
        if self._keys is None:
            self._keys = keys_of(self._site)
        return self._keys

    def _begun(self, remaining: tuple[Resumption, ...]) -> Begun:
        return Begun(self._run.run, self._run.attempt, remaining, self._run.planned_at)

    def _check_journal(self) -> None:
        with database.reading(self._address) as connection:
            try:
                installation.check(connection)
            except JournalMissing:
                raise JournalMissing(
                    "The journal is not installed in this database, and a rotation that nobody records could leave a "
                    "token that nobody knows." + setup.how_to_install(connection)
                ) from None

    def _mark(self, token_id: int, reached: Stage, destination: str | None, *, or_later: Sequence[Stage]) -> None:
        """Write the stage down, unless an attempt whose answer was lost has done so."""
        try:
            with database.connect(self._address) as connection:
                stage.mark(connection, self._run, token_id, reached, destination)
        except ReadOnly:
            raise
        except Refused:
            if self._stage(token_id) not in or_later:
                raise

    def _stage(self, token_id: int) -> Stage | None:
        with database.reading(self._address) as connection:
            return stage.read(connection, self._run.run, token_id)

    def _came_to(self, token_id: int) -> Retirement | None:
        with database.reading(self._address) as connection:
            return retirement.read(connection, self._run.run, token_id)

    def _verify(self, made: Successor, url: str) -> None:
        here = self._site.installation
        trusted: Sequence[Path] = trusted_certificates(here) if here else ()
        # Nobody waits for GitLab's replicas once somebody wants to stop.
        pause = partial(wait, stop_requested=self.stop_requested)
        found = verify(url, made.token, trusted=trusted, pause=pause)
        day = None if made.expires_at is None else str(made.expires_at)
        if not agrees(found, made.id, day):
            raise VerificationFailed(
                f"{url} takes the new token for one with id {found.id} that expires on {found.expires_at or 'no day'}, "
                f"and here it has id {made.id} and expires on {day or 'no day'}: it works on another database than "
                "this one."
            )


def _fault_of(check: Callable[[], object]) -> TokensError | None:
    try:
        check()
    except TokensError as fault:
        return fault
    return None
