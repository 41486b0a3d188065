"""A GitLab that is installed right here, ready to be worked on: its database as the application reaches it."""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tokens.address import Address, conninfo
from tokens.errors import Refused, TokensError, UsageError
from tokens.targets.here import identity
from tokens.targets.here.advice import advice
from tokens.targets.here.database_yml import read_settings
from tokens.targets.here.installation import Installation, NoInstallation

DEFAULT_DATABASE = "gitlabhq_production"
URL_VARIABLE = "MAIN_DATABASE_URL"
IGNORED_VARIABLE = "DATABASE_URL"
COMMAND_TIME = 60  # seconds for a config_command


@dataclass(frozen=True)
class Site:
    """The main database and what is known around it: the installation, if it is right here, and as whom we run.

    `standbys` are the servers that GitLab's configuration reads from beside it; the primary may be
    among them. `discovers_standbys` says that it finds such servers by DNS, too, which is not followed here.
    """

    address: Address
    installation: Installation | None = None
    geo_secondary: bool = False
    notes: tuple[str, ...] = ()
    account: str | None = None
    standbys: tuple[Address, ...] = ()
    discovers_standbys: bool = False

    @property
    def release(self) -> str | None:
        """GitLab's version, such as `17.11.1-ee`, where the installation tells it."""
        return self.installation.version if self.installation else None


def open_site(installation: Installation) -> Site:
    """Become the GitLab user where root asks, then read how the application reaches its database.

    Raises:
        Refused: this user may not.
        UsageError: the settings cannot be read as GitLab reads them.
    """
    if installation.user is not None:
        identity.become(installation.user, str(installation.database_yml))
    settings = read_settings(_text(installation), _run, _variable(installation, URL_VARIABLE))
    notes = []
    if _variable(installation, IGNORED_VARIABLE):
        notes.append(f"{IGNORED_VARIABLE} is ignored, as GitLab ignores it: what counts is {URL_VARIABLE}.")
    return Site(
        _address(installation, settings.parameters),
        installation,
        settings.geo_secondary,
        tuple(notes),
        identity.account_name(),
        tuple(_address(installation, parameters) for parameters in settings.standbys),
        settings.discovers,
    )


def _text(installation: Installation) -> str:
    path = installation.database_yml
    try:
        return path.read_text()
    except FileNotFoundError:
        raise NoInstallation(
            f"{path} is missing: this node does not run GitLab Rails; run this on an application node."
        ) from None
    except PermissionError:
        raise Refused(
            f"{path} may not be read by {_whoami()}: run this as root (sudo) or as the GitLab user."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {_reason(error)}.") from None


def _variable(installation: Installation, name: str) -> str | None:
    """A variable as the application sees it: the Linux package keeps its own in files."""
    if installation.environment is not None:
        with contextlib.suppress(OSError):
            return (installation.environment / name).read_text().split("\n")[0].strip() or None
    return os.environ.get(name) or None


def _run(command: str) -> str:
    """What a `config_command` prints, run as Rails runs it: split at blanks, by no shell. Its output is never shown."""
    said = f"The config_command in database.yml ({command})"
    try:
        done = subprocess.run(
            command.split(),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIME,
            stdin=subprocess.DEVNULL,
            env=identity.child_environment(),
            check=False,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise TokensError(f"{said} cannot be run: {_reason(error)}.") from None
    except subprocess.TimeoutExpired:
        raise TokensError(f"{said} has not ended within {COMMAND_TIME} seconds.") from None
    if done.returncode != 0:
        raise TokensError(f"{said} failed with exit status {done.returncode}; GitLab itself needs it, too.")
    return done.stdout


def _address(installation: Installation, settings: Mapping[str, str]) -> Address:
    account = identity.account_name()
    # Where nothing is said libpq's own defaults hold: the socket, and the role of the account's own name.
    parameters = {"dbname": DEFAULT_DATABASE, **({"user": account} if account else {}), **settings}
    if "user" not in parameters:
        raise UsageError("database.yml names no username, and this process's account has no name to take instead.")
    place = f"{parameters.get('host', '')}:{parameters['port']}" if "port" in parameters else parameters.get("host", "")
    return Address(
        conninfo(parameters),
        f"{parameters['user']}@{place}/{parameters['dbname']}",
        complete=True,
        advice=advice(installation, parameters, _whoami()),
    )


def _whoami() -> str:
    return identity.account_name() or f"number {os.geteuid()}"


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"
