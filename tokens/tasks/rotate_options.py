"""The options of `rotate`: what they say about themselves, and what they ask for together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tokens.commands.reading import free_text
from tokens.errors import UsageError
from tokens.tasks import change_options, selection_options
from tokens.tasks.numbers import whole_number
from tokens.tasks.output_option import require_output
from tokens.tasks.selection_options import KINDS, SELECTION_HELP, SELECTION_OPTIONS, SEVERAL, STATES

# The help is needed to list the tasks; what lies behind the options brings the database's driver along.
if TYPE_CHECKING:
    from tokens.gitlab.kind import State
    from tokens.rotation.candidate import Search

OUTPUTS = ("text", "json")
DEFAULT_KIND = "service-account"
ALLOWED = ("long-expired",)

ROTATE_HELP = {
    "service_account": "Only tokens of the account with this username.",
    "token": "Only the token with this name or id.",
    "within": "All tokens that work and expire within so many days, such as 30d.",
    "expired_within": "All tokens that have expired within the last so many days, such as 14d.",
    **SELECTION_HELP,
    "kind": f"Of this kind: {KINDS}. Default: {DEFAULT_KIND}. {SEVERAL}",
    "state": f"Only in this state: {STATES}. Default: active; with --expired-within expired; with "
    f"--service-account or --token whatever can be rotated. {SEVERAL}",
    "allow": "Go on in spite of a guard: long-expired (tokens that expired more than 30 days ago).",
    "at_most": "Refuse to rotate more tokens than this number.",
    "expires_in": "How long the new token lives, in days. Default: 365d, or the instance's maximum if that is less.",
    "grace": "Let the old token live on for so many days (7d) at most, instead of revoking it at once.",
    "verify": "The URL of GitLab that has to accept the new token. Default: the one in the configuration of the "
    "GitLab installed right here.",
    "no_verify": "Do not ask GitLab whether it accepts the new token.",
    "deliver": "Where the new token goes: file:PATH ({account} and {token_id} are filled in), command:COMMAND (token "
    "on its standard input, facts in TOKENS_ACCOUNT and the like, for a path TOKENS_NAME_SAFE) or stdout. Default on a "
    "terminal: stdout.",
    "force": "Replace the file of --deliver, if it is there.",
    "after": "A command for each token that was rotated, at the very end, with the same facts, without the token.",
    "secrets_file": "A copy of GitLab's secrets.yml or gitlab-secrets.json. Default: that of the GitLab right here.",
    "dry_run": "Show the plan, make and change nothing. Needs no secrets.",
    "yes": "Do not ask; needed where there is no terminal.",
    "reason": "Why, for the journal.",
    "resume": "Bring the run with this number to its end.",
    "output": "text or json; neither ever holds a token. Default: text.",
}

ROTATE_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(ROTATE_HELP),
    "expires_in": "365d",
    "no_verify": False,
    "force": False,
    "dry_run": False,
    "yes": False,
    "output": "text",
}
ROTATE_LISTS = (*selection_options.LISTS, "allow")
NARROWING = ("kind", "state")
"""Those of the selection's options that say no more than what is left out of all tokens."""

SELECTING = (
    *("service_account", "token", "within", "expired_within", *SELECTION_OPTIONS, "allow", "at_most"),
    *("expires_in", "grace", "reason"),
)
"""What a run that is resumed knows already."""


@dataclass(frozen=True)
class RotateOptions:
    """What a rotation is asked to be; `expires_in` and `grace` are days.

    `selects` says whether the options say which tokens, so that nobody need be asked; `of_all` that all that they mean
    are to be rotated, and not the one of an account, or the one with a name.
    """

    search: "Search"
    account: str | None
    selects: bool
    of_all: bool
    allow: frozenset[str]
    at_most: int | None
    expires_in: int
    grace: int | None
    url: str | None
    verifies: bool
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
        return any(kind in ("personal", "impersonation") for kind in self.search.selection.kinds or ())


def read_options(options: Mapping[str, Any], stdin: TextIO | None = None) -> RotateOptions:
    """What these options ask for. Reads the ids of `--ids`, on `stdin` where they are there.

    Raises:
        UsageError: what cannot be read, or options that contradict each other.
    """
    from tokens.gitlab.api import Instance

    require_output(options["output"], OUTPUTS)
    for name in ("service_account", "token", "verify", "deliver", "after", "secrets_file"):
        if options[name] is not None and not options[name].strip():
            raise UsageError(f"--{_flag(name)} was given nothing; give a value or leave it out.")
    json = options["output"] == "json"
    if options["verify"] is not None and options["no_verify"]:
        raise UsageError("--verify and --no-verify contradict each other: choose one.")
    if json and not (options["yes"] or options["dry_run"]):
        raise UsageError("--output json asks nothing: say --yes or --dry-run with it.")
    if json and options["deliver"] == "stdout":
        raise UsageError("--output json never holds a token: deliver it with file: or command:.")
    if options["force"] and not (options["deliver"] or "").startswith("file:"):
        raise UsageError("--force is about the file of --deliver file:PATH.")
    if options["verify"] is not None:
        Instance.at(options["verify"])
    criteria = [name for name in SELECTION_OPTIONS if name not in NARROWING and options[name] not in (None, [])]
    of_all = bool(criteria) or options["within"] is not None or options["expired_within"] is not None
    return RotateOptions(
        search=_search(options, stdin),
        account=options["service_account"],
        selects=of_all or options["service_account"] is not None or options["token"] is not None,
        of_all=of_all,
        allow=_allowed(options["allow"]),
        at_most=change_options.at_most_given(options["at_most"]),
        expires_in=change_options.days("expires-in", options["expires_in"]),
        grace=_days("grace", options["grace"]),
        url=options["verify"],
        verifies=not options["no_verify"],
        deliver=options["deliver"],
        force=options["force"],
        after=options["after"],
        secrets_file=None if options["secrets_file"] is None else _file(options["secrets_file"]),
        dry_run=options["dry_run"],
        asks=not options["yes"],
        reason=change_options.reason_given(options["reason"]),
        resume=_resume(options),
        json=json,
    )


def _resume(options: Mapping[str, Any]) -> int | None:
    if options["resume"] is None:
        return None
    for name in SELECTING:
        if options[name] not in (ROTATE_OPTIONS[name], []):
            raise UsageError(f"--resume goes on with a run as it was planned: leave --{_flag(name)} out.")
    number = whole_number(options["resume"], 1, change_options.MOST_TOKENS)
    if number is None:
        raise UsageError(
            f'--resume takes the number of a run, as tokens.history shows it, but was given "{options["resume"]}".'
        )
    return number


def _search(options: Mapping[str, Any], stdin: TextIO | None) -> "Search":
    from tokens.gitlab.kind import State
    from tokens.rotation.candidate import Search

    account = _text("service-account", options["service_account"])
    if account is not None and options["user"]:
        raise UsageError("--service-account and --user both say whose tokens: choose one.")
    given = {name: options[name] for name in SELECTION_OPTIONS}
    given["kind"] = given["kind"] or [DEFAULT_KIND]
    within, expired_within = _days("within", options["within"]), _days("expired-within", options["expired_within"])
    selection = selection_options.selection(**given, stdin=stdin, needs_expires=False)
    if not options["state"]:
        selection = replace(selection, states=_states(options, within, expired_within))
    for option, days, state in (("within", within, State.ACTIVE), ("expired-within", expired_within, State.EXPIRED)):
        if days is not None and state not in selection.states:
            raise UsageError(f"--{option} is about tokens that are {state}, so --state has to have that, too.")
    if account is not None:
        selection = replace(selection, users=(account,))
    return Search(selection, _text("token", options["token"]), within, expired_within)


def _states(options: Mapping[str, Any], within: int | None, expired_within: int | None) -> "frozenset[State]":
    """The states that are meant where nobody says so."""
    from tokens.gitlab.kind import State

    if options["token"] is not None:
        return frozenset(State)  # of one that is named it is said why it cannot be rotated
    periods = {State.ACTIVE: within, State.EXPIRED: expired_within}
    if within is not None or expired_within is not None:
        return frozenset(state for state, days in periods.items() if days is not None)
    if any(options[name] not in (None, []) for name in SELECTION_OPTIONS if name not in NARROWING):
        return frozenset({State.ACTIVE})
    return frozenset(periods)


def _allowed(values: Sequence[str] | None) -> frozenset[str]:
    words = [word.strip() for value in values or () for word in value.split(",")]
    for word in words:
        if word not in ALLOWED:
            raise UsageError(f'--allow takes {", ".join(ALLOWED)}, not "{word}".')
    return frozenset(words)


def _days(option: str, text: str | None) -> int | None:
    return None if text is None else change_options.days(option, text)


def _text(option: str, text: str | None) -> str | None:
    return None if text is None else free_text(option, text)


def _file(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"--secrets-file {text} names nobody's home.") from None


def _flag(parameter: str) -> str:
    return parameter.replace("_", "-")
