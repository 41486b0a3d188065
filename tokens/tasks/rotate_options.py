"""The options of `rotate`: what they say about themselves, and what they ask for together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokens.errors import UsageError
from tokens.tasks import change_options
from tokens.tasks.numbers import whole_number
from tokens.tasks.output_option import require_output
from tokens.tasks.selection_options import KINDS, SEVERAL

# The help is needed to list the tasks; what lies behind the options brings the database's driver along.
if TYPE_CHECKING:
    from tokens.gitlab.kind import Kind

OUTPUTS = ("text", "json")
DEFAULT_KIND = "service-account"

ROTATE_HELP = {
    "service_account": "Only tokens of the account with this username.",
    "token": "Only the token with this name or id.",
    "within": "All tokens that are expired or expire within so many days, such as 30d.",
    "kind": f"Of this kind: {', '.join(KINDS)}. Default: {DEFAULT_KIND}. {SEVERAL}",
    "expires_in": "How long the new token lives, in days. Default: 365d, or the instance's maximum if that is less.",
    "grace": "Let the old token live on for so many days (7d) at most, instead of revoking it at once.",
    "verify": "The URL of GitLab that has to accept the new token. Default: the one in the configuration of the "
    "GitLab installed right here.",
    "no_verify": "Do not ask GitLab whether it accepts the new token.",
    "deliver": "Where the new token goes: file:PATH ({account} and {token_id} are filled in), command:COMMAND (token "
    "on its standard input, facts in TOKENS_ACCOUNT and the like) or stdout. Default on a terminal: stdout.",
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
SELECTING = ("service_account", "token", "within", "kind", "expires_in", "grace", "reason")
"""What a run that is resumed knows already."""


@dataclass(frozen=True)
class Wishes:
    """What a rotation is asked to be; `within`, `expires_in` and `grace` are days."""

    account: str | None
    token: str | None
    within: int | None
    kinds: "frozenset[Kind]"
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
    def selects(self) -> bool:
        """Whether the options say which tokens, so that nobody need be asked."""
        return not (self.account is None and self.token is None and self.within is None)

    @property
    def allows_people(self) -> bool:
        """Whether a kind is named whose tokens are people's."""
        return any(kind in ("personal", "impersonation") for kind in self.kinds)


def wishes(options: Mapping[str, Any]) -> Wishes:
    """What these options ask for.

    Raises:
        UsageError: what cannot be read, or options that contradict each other.
    """
    from tokens.verification import Instance

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
    return Wishes(
        account=_text("service-account", options["service_account"]),
        token=_text("token", options["token"]),
        within=_days("within", options["within"]),
        kinds=_kinds(options["kind"]),
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


def _kinds(words: Sequence[str] | None) -> "frozenset[Kind]":
    from tokens.gitlab.kind import Kind

    named = [word.strip() for value in words or (DEFAULT_KIND,) for word in value.split(",")]
    for word in named:
        if word not in KINDS:
            raise UsageError(f'--kind takes {", ".join(KINDS[:-1])} or {KINDS[-1]}, not "{word}".')
    return frozenset(map(Kind, named))


def _days(option: str, text: str | None) -> int | None:
    return None if text is None else change_options.days(option, text)


def _text(option: str, text: str | None) -> str | None:
    if text and ("\0" in text or any("\ud800" <= character <= "\udfff" for character in text)):
        raise UsageError(f"--{option} takes text in UTF-8, as GitLab keeps it; check the terminal's encoding.")
    return text


def _file(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"--secrets-file {text} names nobody's home.") from None


def _flag(parameter: str) -> str:
    return parameter.replace("_", "-")
