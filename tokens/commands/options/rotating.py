"""What a rotation is asked to be: its options, read together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokens.call import to_type
from tokens.commands.environment import Environment
from tokens.commands.options import values
from tokens.commands.options.days import days_of
from tokens.commands.options.handling import allowed
from tokens.commands.options.selecting import KINDS_TO_ROTATE, check_kinds, check_periods, selection
from tokens.errors import UsageError
from tokens.gitlab.api import Endpoint
from tokens.gitlab.kind import Kind, State
from tokens.rotation.candidate import Search
from tokens.rotation.plan import LIFETIME

DEFAULT_KIND = "service-account"
NARROWING = ("kind", "state")
"""Those of the selection's options that say no more than what is left out of all tokens."""


@dataclass(frozen=True)
class RotateOptions:
    """What a rotation is asked to be.

    Attributes:
        search: which tokens are meant.
        account: the username that was named, if one was.
        selects: whether the options say which tokens, so that nobody need be asked.
        of_all: whether all that they mean are to be rotated, and not the one of an account, or the one with a name.
        allow: guards that refuse nothing.
        at_most: how many tokens may be rotated, None for any number.
        expires_in: days that the new token lives.
        grace: days that the old token lives on at most, None to revoke it at once.
        url: the GitLab that has to accept the new token, None for the one of the installation.
        verifies: whether one has to.
        new_owner: the username of the service account that people's new tokens belong to, None to keep the owners.
        deliver: where the new token goes, as `--deliver` takes it; None where nobody has said so.
        force: whether a file that is there may be replaced by it.
        after: a command for each token that was rotated.
        secrets_file: a copy of GitLab's secrets, None for those of the installation.
        dry_run: the plan is shown, and nothing is made or changed.
        asks: whether a person is asked before anything is changed.
        reason: why, for the journal.
        resume: the number of the run that is gone on with, None for a new one.
        json: whether what is said is one document for a program.
    """

    search: Search
    account: str | None
    selects: bool
    of_all: bool
    allow: frozenset[str]
    at_most: int | None
    expires_in: int
    grace: int | None
    url: str | None
    verifies: bool
    new_owner: str | None
    deliver: str | None
    force: bool
    after: str | None
    secrets_file: Path | None
    dry_run: bool
    asks: bool
    reason: str | None
    resume: int | None
    json: bool

    @property
    def token(self) -> str | None:
        """The name or id of the one token that is meant."""
        return self.search.token

    @property
    def names(self) -> bool:
        """Whether an account or a token is named."""
        return self.account is not None or self.token is not None

    @property
    def allows_people(self) -> bool:
        """Whether a kind is named whose tokens are people's."""
        return self.search.names_people


def rotate_options(
    environment: Environment,
    *,
    service_account: str | None,
    token: str | None,
    within: str | None,
    expired_within: str | None,
    allow: Sequence[str] | None,
    at_most: str | None,
    expires_in: str | None,
    grace: str | None,
    verify: str | None,
    no_verify: bool,
    new_owner: str | None,
    deliver: str | None,
    force: bool,
    after: str | None,
    secrets_file: str | None,
    dry_run: bool,
    yes: bool,
    reason: str | None,
    resume: str | None,
    output: str,
    **selecting: Any,
) -> RotateOptions:
    """What these options ask for; `selecting` are those of `tokens.commands.options.selecting.selection`.

    Reads the ids of `--ids`, on the environment's standard input where they are there.

    Raises:
        UsageError: what cannot be read, or options that contradict each other.
    """
    _check_delivery(verify, no_verify, deliver, force, output)
    new_owner = None if new_owner is None else values.free_text("new-owner", new_owner).removeprefix("@")
    if new_owner is not None and resume is None:
        selecting = _of_people(service_account, token, selecting)
    search = _search(environment, service_account, token, within, expired_within, selecting)
    of_all = _has_criterion(selecting) or within is not None or expired_within is not None
    lifetime = LIFETIME if expires_in is None else days_of("expires-in", expires_in)
    planned = {
        "service_account": service_account,
        "token": token,
        "within": within,
        "expired_within": expired_within,
        **selecting,
        "allow": allow,
        "at_most": at_most,
        "expires_in": None if lifetime == LIFETIME else lifetime,
        "grace": grace,
        "new_owner": new_owner,
        "reason": reason,
    }
    return RotateOptions(
        search=search,
        account=service_account,
        selects=of_all or service_account is not None or token is not None,
        of_all=of_all,
        allow=allowed("rotate", allow),
        at_most=values.number_at_most(at_most),
        expires_in=lifetime,
        grace=_days("grace", grace),
        url=verify,
        verifies=not no_verify,
        new_owner=new_owner,
        deliver=deliver,
        force=force,
        after=after,
        secrets_file=None if secrets_file is None else _file(secrets_file),
        dry_run=dry_run,
        asks=not yes,
        reason=values.reason(environment, reason),
        resume=None if resume is None else _run_to_resume(resume, planned),
        json=output == "json",
    )


def _check_delivery(verify: str | None, no_verify: bool, deliver: str | None, force: bool, output: str) -> None:
    """Refuse what says nothing, or two things, of where a new token goes and who has to accept it."""
    if verify is not None and no_verify:
        raise UsageError("--verify and --no-verify contradict each other: choose one.")
    if output == "json" and deliver == "stdout":
        raise UsageError("--output json never holds a token: deliver it with file: or command:.")
    if force and not (deliver or "").startswith("file:"):
        raise UsageError("--force is about the file of --deliver file:PATH.")
    if verify is not None:
        Endpoint.at(verify)


def _of_people(account: str | None, token: str | None, selecting: Mapping[str, Any]) -> dict[str, Any]:
    """The selection of tokens that get a new owner: people's, and of what is named all, to say why it is left out."""
    if account is not None:
        raise UsageError(
            "--new-owner takes people's tokens, and --service-account chooses those of a service account: use --user."
        )
    named = token is not None or selecting.get("user") or selecting.get("ids")
    if not named and not _has_criterion(selecting):
        raise UsageError(
            "--new-owner has to know whose tokens: use --user USERNAME, --token NAME or ID, or --ids FILE."
        )
    kinds = selecting.get("kind") or (KINDS_TO_ROTATE if named else [Kind.PERSONAL.value])
    return {**selecting, "kind": list(kinds)}


def _search(
    environment: Environment,
    account: str | None,
    token: str | None,
    within: str | None,
    expired_within: str | None,
    selecting: Mapping[str, Any],
) -> Search:
    account = _text("service-account", account)
    if account is not None and selecting.get("user"):
        raise UsageError("--service-account and --user both choose accounts: use one of them.")
    periods = {State.ACTIVE: _days("within", within), State.EXPIRED: _days("expired-within", expired_within)}
    kinds = selecting.get("kind") or [DEFAULT_KIND]
    check_kinds(kinds, KINDS_TO_ROTATE)
    found = selection(environment, **{**selecting, "kind": kinds}, needs_expires=False)
    if not selecting.get("state"):
        found = replace(found, states=_states(token, periods, _has_criterion(selecting)))
    check_periods(found.states, within, expired_within)
    if account is not None:
        found = replace(found, users=(account,))
    return Search(found, _text("token", token), periods[State.ACTIVE], periods[State.EXPIRED])


def _states(token: str | None, periods: Mapping[State, int | None], has_criterion: bool) -> frozenset[State]:
    """The states that are meant where nobody says so."""
    if token is not None:
        return frozenset(State)  # of one that is named it is said why it cannot be rotated
    limited = frozenset(state for state, days in periods.items() if days is not None)
    return limited or (frozenset({State.ACTIVE}) if has_criterion else frozenset(periods))


def _has_criterion(selecting: Mapping[str, Any]) -> bool:
    """Whether the selection's options say which tokens, and not only what is left out of all."""
    return any(value not in (None, [], False) for name, value in selecting.items() if name not in NARROWING)


def _run_to_resume(text: str, planned: Mapping[str, Any]) -> int:
    """The number of the run; `planned` are the options that say what it knows already."""
    for name, value in planned.items():
        if value not in (None, [], False):
            raise UsageError(f"--resume goes on with a run as it was planned: leave --{name.replace('_', '-')} out.")
    number = values.whole_number(text, 1, values.LARGEST_RUN)
    if number is None:
        seen = to_type("to see the runs", "history")
        raise UsageError(f'--resume takes the number of a run, but was given "{text}".{seen}')
    return number


def _days(option: str, text: str | None) -> int | None:
    return None if text is None else days_of(option, text)


def _text(option: str, text: str | None) -> str | None:
    return None if text is None else values.free_text(option, text)


def _file(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"--secrets-file {text} is in the home folder of an account that is not here.") from None
