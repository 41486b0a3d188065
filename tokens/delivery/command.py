"""A command as the destination of a new token, and commands as such."""

import os
import re
import secrets
import select
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO

from tokens.delivery import processes
from tokens.delivery.descriptor import unread, write
from tokens.delivery.destination import Delivery, DeliveryFailed, NewToken
from tokens.delivery.processes import MARK
from tokens.errors import UsageError
from tokens.secret import Secret

SHELL = "/bin/sh"
PUNCTUATION = "();<>|&"
BY_ACCOUNT = re.compile(r"\bTOKENS_ACCOUNT\b")
BY_NAME = re.compile(r"\bTOKENS_NAME(_SAFE)?\b")
BY_ID = re.compile(r"\bTOKENS_(OLD_ID|ID)\b")
PLACEHOLDER = re.compile(r"(?<!\$)\{(account|token_id|TOKENS_[A-Z_]+)\}")
FILLED_IN = {"account": "TOKENS_ACCOUNT", "token_id": "TOKENS_OLD_ID"}  # by `file:`, and the variables for the same

# A word that may be an assignment, wherever it stands. What is taken from a variable or standard input is no secret.
VALUE = (
    r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\$\{[^}]*\}|\$\([^()]*\)|`[^`]*`|[^\s;&|<>()'"\\`])+"""
    r"""(?=[\s;&|<>()'"`]|$)"""
)
ASSIGNMENT = re.compile(rf"""(?<![^\s;&|({{}}`'"])([A-Za-z_]\w*\+?=)(?!-(?:\s|$)|"?\$\w)({VALUE})""")

# What may differ from token to token, or keep one beside another. Some of our variables are the same for many tokens.
VARIES = re.compile(r"\$(?!\{?TOKENS_(RUN|SCOPES|EXPIRES_AT)\b)|[`\n]|>>|\btee\s+(-\w*a|--append)")
# Programs that read none of our variables by themselves: first those that keep the token only where a file is named.
TOOLS = frozenset({"cat", "tee", "umask", "chmod", "chown", "chgrp", "mkdir", "cd", "set"})
CLIENTS = frozenset({"glab", "gh", "vault", "bao", "kubectl", "aws", "az", "gcloud", "op"})

# The shell stays until the command ends (by itself, bash would turn into the command's last program), so that the
# delivery can be told by the shell's environment, also where that of its program cannot be read, as with sudo.
SCRIPT = """trap '' INT HUP TERM
eval "shift
$1"
exit"""


class CommandDelivery(Delivery):
    """A command that takes the token from its standard input, such as `vault kv put secret/x token=-`.

    What it prints goes to `errors`, this process's standard error.
    """

    def __init__(self, command: str, errors: TextIO | None) -> None:
        if found := PLACEHOLDER.search(command):
            raise UsageError(
                f'--deliver command: fills in no {found[0]}: write "${FILLED_IN.get(found[1], found[1])}" instead, in '
                "double quotes."
            )
        self._command = command
        self._errors = errors

    def check(self, tokens: Sequence[NewToken]) -> None:
        check_command("--deliver command:", self._command)
        by_account, by_name = (bool(one.search(self._command)) for one in (BY_ACCOUNT, BY_NAME))
        if BY_ID.search(self._command):
            return
        if not (by_account or by_name):
            if len(tokens) > 1 and _has_one_place(self._command):
                raise UsageError(
                    f"{len(tokens):,} tokens would go to one place, since the command does the same with each: let it "
                    "use TOKENS_ACCOUNT, TOKENS_NAME_SAFE or TOKENS_OLD_ID."
                )
            return
        places = Counter((one.account if by_account else "", one.name if by_name else "") for one in tokens)
        (account, name), count = max(places.items(), key=lambda one: one[1], default=(("", ""), 0))
        if count > 1:
            of = " of ".join([*([f'the name "{name}"'] if by_name else []), *([account] if by_account else [])])
            told = " and ".join(["TOKENS_ACCOUNT"] * by_account + ["TOKENS_NAME"] * by_name)
            raise UsageError(
                f"{count:,} tokens of {of} would go to one place, since the command distinguishes them by {told} "
                f"alone: let it use {'' if by_name else 'TOKENS_NAME_SAFE or '}TOKENS_OLD_ID, too."
            )

    def note(self, tokens: Sequence[NewToken]) -> str | None:
        if len(tokens) < 2 or any(one.search(self._command) for one in (BY_ACCOUNT, BY_NAME, BY_ID)):
            return None
        return (
            f"{len(tokens):,} tokens go to one command that names neither TOKENS_ACCOUNT nor TOKENS_NAME_SAFE nor "
            "TOKENS_OLD_ID. If it does not read these variables by itself, each token overwrites the one before."
        )

    def deliver(self, token: Secret, about: NewToken) -> None:
        fault = run_command(self._command, about.variables, token, planned_at=about.planned_at, errors=self._errors)
        if fault:
            raise DeliveryFailed(f"The command of --deliver {fault}.")

    def place(self, about: NewToken) -> str:  # noqa: ARG002
        return f"command {without_values(self._command)}"

    def destination(self, about: NewToken) -> str:  # noqa: ARG002
        """The program alone: the other words may hold a password."""
        program = _first_word(self._command) or ""
        return f"command {os.path.basename(program)}".strip().encode("ascii", "backslashreplace").decode()


def run_command(
    command: str,
    variables: Mapping[str, str],
    token: Secret | None = None,
    *,
    planned_at: str | None = None,
    errors: TextIO | None,
) -> str | None:
    """Run a command by /bin/sh; what it prints goes to `errors`. None, or how it failed as the end of a sentence.

    It runs in the folder of this process, or in `/` where this account may not enter that.
    It has the variables in its environment, and on standard input exactly the token, without a line's end. One that
    ends well without having read the token has failed. One that is given a token has the variable MARK, too, with a
    value of its own, by which whatever it starts is known as part of this delivery. It begins with when its run was
    planned, where there is one.

    It begins with INT, HUP and TERM ignored, as does all that it starts: Ctrl-C, a closed terminal and a service
    manager mean every process at once, but a delivery should end what it does, and who waits here decides what
    then. Programs may take them back (`trap - TERM`); those in Go do so with TERM, those in Node with all three, by
    themselves. They are not blocked instead, since then `timeout` could not end a program either. What raises an
    exception here, as a second Ctrl-C does, kills the command and all that it has started.

    It stays in the process group of this process, as a terminal lets only its foreground group ask on /dev/tty, and
    sends Ctrl-C to that group alone.
    """
    mark = None if token is None else " ".join(filter(None, (planned_at, secrets.token_hex(16))))
    child = None
    # The end that the command reads from stays open here, too: it tells afterwards whether the token was taken.
    reading, writing = os.pipe()
    try:
        if token is not None:
            write(writing, token)
        os.close(writing)
        writing = -1
        shown = _descriptor(errors)
        try:
            child = subprocess.Popen(  # noqa: S603 - it is the administrator's own
                [SHELL, "-c", SCRIPT, SHELL, command],
                stdin=reading,
                stdout=shown,
                stderr=shown,
                cwd=_folder(),
                env=_environment(variables, mark),
            )
        except (OSError, ValueError) as error:
            return f"cannot be started ({getattr(error, 'strerror', None) or 'its words cannot be passed on'})"
        status = child.wait()
        if status < 0:
            # Nobody waits any more for what the shell had begun, and it has a token that is of no use.
            processes.kill(mark)
            return f"was ended by {signal.Signals(-status).name}"
        if status > 0:
            return f"failed with exit status {status}"
        return "ended without having read the token, which is on its standard input" if unread(reading) else None
    except BaseException:
        processes.kill(mark, child)
        raise
    finally:
        if writing >= 0:
            os.close(writing)
        os.read(reading, select.PIPE_BUF)  # what was not taken by now is nobody's
        os.close(reading)


def without_values(command: str) -> str:
    """`command` as it may be shown: what it assigns to variables for a program may be a secret.

    >>> without_values("VAULT_TOKEN=s3cret vault kv put secret/x token=-")
    'VAULT_TOKEN=… vault kv put secret/x token=-'
    """
    return ASSIGNMENT.sub(r"\1…", command)


def check_command(option: str, command: str) -> None:
    """Find out whether the shell understands a command, and whether the program that it begins with is there.

    Raises:
        UsageError: `option` cannot be carried out.
    """
    try:
        if _shell("-n", "-c", command) != 0:
            raise UsageError(f"{option} has a command that {SHELL} cannot read; look at its quotes and brackets.")
        word = _first_word(command)
        if word and _shell("-c", 'command -v "$1"', "sh", word) != 0:
            raise UsageError(
                f'{option} begins with "{word}", which is not on the PATH of the account that this runs as.'
            )
    except OSError as error:
        raise UsageError(f"{option} needs {SHELL}, which cannot be run: {error.strerror}.") from None


def _shell(*words: str) -> int:
    return subprocess.run(  # noqa: S603
        [SHELL, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=_folder(),
        check=False,
    ).returncode


def _folder() -> str | None:
    """Where a command runs: None for the folder of this process, `/` where its account may not enter that.

    Git and others end at once in a folder that is closed to them, such as root's home.
    """
    try:
        return None if os.access(os.getcwd(), os.X_OK) else "/"
    except OSError:  # it is gone
        return "/"


def _has_one_place(command: str) -> bool:
    """Whether a command visibly does the same with each token, and keeps it: all is fixed, and nothing looks further.

    A program that is not known may read our variables by itself.
    """
    if VARIES.search(command):
        return False
    programs: list[str] = []
    keeps, begins, before = False, True, ""
    for word in _words(command):
        is_target, before = before in (">", ">|"), word
        if set(word) <= set(PUNCTUATION):
            begins = begins or not set(word) & set("<>")
        elif begins:
            programs.append(os.path.basename(word))
            begins = False
        elif is_target or programs[-1] == "tee":
            keeps = keeps or not word.startswith(("/dev/", "-"))
    return set(programs) <= TOOLS | CLIENTS and (keeps or not CLIENTS.isdisjoint(programs))


def _words(command: str) -> list[str]:
    """The words and the shell's signs, without assignments; none where only the shell itself could tell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=PUNCTUATION)
    lexer.whitespace_split = True
    try:
        return [word for word in lexer if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", word)]
    except ValueError:
        return []


def _first_word(command: str) -> str | None:
    """The program's name, None where only the shell itself could tell."""
    first = next(iter(_words(command)), "")
    return first if re.fullmatch(r"[\w./+-][\w./+ -]*", first) else None


def _environment(variables: Mapping[str, str], mark: str | None) -> dict[bytes, bytes]:
    # As bytes, since the locale's encoding may not have what GitLab's names are made of.
    environment = {**os.environb, **{name.encode(): value.encode() for name, value in variables.items()}}
    environment.pop(MARK.encode(), None)  # of a delivery that this process is part of itself
    return environment if mark is None else {**environment, MARK.encode(): mark.encode()}


def _descriptor(stream: TextIO | None) -> int:
    try:
        return subprocess.DEVNULL if stream is None else stream.fileno()
    except (ValueError, OSError):  # the caller has closed it, or it is none of the system's
        return subprocess.DEVNULL
