"""`evidence`: the journal for an auditor, in a file that brings along what proves it."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tokens import database
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.options.days import day_of
from tokens.commands.show import show
from tokens.commands.whole_file import check, replace
from tokens.errors import Refused, TokensError, UsageError
from tokens.journal import installation
from tokens.journal.evidence import read
from tokens.targets.here import identity
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.views import evidence as view

EXAMPLE = "evidence.ndjson"
FOR_ITS_OWNER = 0o600  # it says who did what, and which tokens there are
NAMESPACE = "gitlab-tokens-evidence"
"""What ssh-keygen signs besides the file, so that no signature for something else can be taken for one of evidence."""


@dataclass(frozen=True)
class Wanted:
    """Runs of which something was written since 00:00 UTC of a day, all without one; a file, and the key to sign it.

    `force` is whether an earlier file may be replaced.
    """

    since: date | None
    file: Path | None
    sign_key: Path | None
    force: bool


def wanted(_: Environment, since: str | None, file: str | None, force: bool, sign_key: str | None) -> Wanted:
    """What these options mean.

    Raises:
        UsageError: a key or force without a file, or a key that cannot be used here.
    """
    if force and file is None:
        raise UsageError("--force is about the file of --file: use both.")
    if sign_key is not None:
        if file is None:
            raise UsageError("--sign-key signs a file: use --file with it.")
        if not Path(sign_key).is_file():
            raise UsageError(f'--sign-key "{sign_key}" is no file.')
        if shutil.which("ssh-keygen") is None:
            raise UsageError("--sign-key needs ssh-keygen: install openssh-client.")
    if file == "-":
        raise UsageError("--file takes the name of a file: leave it out for standard output.")
    day = None if since is None else day_of("since", since, past=True)
    return Wanted(day, None if file is None else Path(file), None if sign_key is None else Path(sign_key), force)


def evidence(environment: Environment, locate: Locate, wanted: Wanted) -> Ending:
    """Write or print the runs with all that proves them; a file gets its programs beside it, and a signature.

    Raises:
        UsageError: it would run over a terminal.
        Refused: an earlier file is there.
        TokensError: see `tokens.errors`.
    """
    if wanted.file is None and console.is_terminal(environment.stdout):
        raise UsageError("Evidence is for a file: use --file, such as --file evidence.ndjson.")
    site = locate()
    if wanted.file is None:
        with _lines(site, wanted.since) as lines:
            show(environment, "ndjson", ndjson=lambda: lines)
        return DONE
    # As the account that writes and signs, which may be another than before.
    check(wanted.file, example=EXAMPLE)
    _check_places(wanted.file, force=wanted.force)
    _check_key(wanted.file, wanted.sign_key)
    with environment.announced("Reading the journal"), _lines(site, wanted.since) as lines:
        content = (f"{line}\n".encode("ascii") for line in lines)
        replace(wanted.file, content, FOR_ITS_OWNER, example=EXAMPLE)
        _signature(wanted.file).unlink(missing_ok=True)  # it is of the older file
    for name, program in view.PROGRAMS.items():
        replace(_program(wanted.file, name), program.read_bytes(), FOR_ITS_OWNER)
    to_check = [f"python3 {_quoted(_program(wanted.file, name))} {_quoted(wanted.file)}" for name in view.PROGRAMS]
    environment.print(f"Written to {wanted.file} → to check it: {' && '.join(to_check)}")
    if wanted.sign_key is not None:
        signature = _sign(wanted.file, wanted.sign_key)
        environment.print(
            f"Signed in {signature} → to check that: ssh-keygen -Y check-novalidate -n {NAMESPACE} "
            f"-s {_quoted(signature)} < {_quoted(wanted.file)}"
        )
    return DONE


@contextmanager
def _lines(site: Site, since: date | None) -> Iterator[Iterator[str]]:
    instance = described(site)
    with database.reading(site.address) as connection:
        installation.check(connection, reading=True)
        yield view.lines(instance, since, read(connection, since))


def _sign(file: Path, key: Path) -> Path:
    """Sign a file with a key of ssh, which may ask for its passphrase on the terminal; returns the signature's file.

    Raises:
        TokensError: it was not signed.
    """
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    with file.open("rb") as content:
        done = subprocess.run(command, stdin=content, capture_output=True, check=False)  # noqa: S603 - of our own words
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise TokensError(
            f"{file} is written, but not signed: ssh-keygen says: {said or 'nothing'} (a key with a passphrase takes a "
            f"terminal, or ssh-add before) → to sign it: {_to_sign(file, key)}"
        )
    signature = _signature(file)
    replace(signature, done.stdout, FOR_ITS_OWNER)
    return signature


def _check_key(file: Path, key: Path | None) -> None:
    """Refuse a key that root could read and the account that root has become cannot."""
    if key is not None and identity.became() is not None and not os.access(key, os.R_OK):
        raise Refused(
            f"--sign-key {key} may not be read by {identity.became()}, as whom this runs although root began it: leave "
            f"--sign-key out → to sign the file then: sudo {_to_sign(file, key)}"
        )


def _to_sign(file: Path, key: Path) -> str:
    return f"ssh-keygen -Y sign -n {NAMESPACE} -f {_quoted(key)} {_quoted(file)}"


def _check_places(file: Path, *, force: bool) -> None:
    """Refuse what is there: only an earlier file shows that the whole journal was written again."""
    for path in (file, _signature(file), *(_program(file, name) for name in view.PROGRAMS)):
        if path.is_dir():
            raise Refused(f"{path} is a folder, and a file goes there: choose another name.")
        if os.path.lexists(path) and not force:
            raise Refused(
                f"{path} is there, and no earlier file of evidence is replaced: choose another name, or use --force."
            )


def _signature(file: Path) -> Path:
    return file.with_name(f"{file.name}.sig")


def _program(file: Path, name: str) -> Path:
    return file.with_name(f"{file.name}.{name}.py")


def _quoted(path: Path) -> str:
    # As it is typed: python3 would take what begins with a hyphen for an option.
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
