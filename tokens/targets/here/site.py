"""A GitLab that is installed right here, ready to be worked on: its database as the application reaches it."""

import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokens.address import Address, conninfo, shown_place
from tokens.call import current
from tokens.database.libpq import libpq_variables
from tokens.errors import Refused, TokensError, UsageError
from tokens.targets.here import identity
from tokens.targets.here.advice import advice
from tokens.targets.here.database_yml import OURS, read_settings
from tokens.targets.here.installation import Installation, Method, NoInstallation
from tokens.targets.here.instance_url import UnknownUrl, read_instance_url
from tokens.targets.instance import Instance

URL_VARIABLE = "MAIN_DATABASE_URL"
CI_URL_VARIABLE = "CI_DATABASE_URL"
IGNORED_VARIABLE = "DATABASE_URL"
SERVICE_VARIABLES = ("PGSERVICEFILE", "PGSYSCONFDIR")  # where services are looked up; no parameter says that
COMMAND_TIME = 60  # seconds for a config_command
OF_THE_ACCOUNT = ("HOME", "LANG", "LOGNAME", "PATH", "TZ", "USER")
"""The variables that a program of GitLab's account has anyway, beside LC_*; all others are the administrator's own."""


@dataclass(frozen=True)
class Site:
    """The main database and what is known around it: the installation, if it is right here, and as whom we run.

    `standbys` are the servers that GitLab's configuration reads from beside it; the primary may be
    among them. `discovers_standbys` says that it finds such servers by DNS, too, which is not followed here. `demo` is
    the folder of the demo, where this is its database. `ci` is the ci database, where GitLab has one of its own.
    """

    address: Address
    installation: Installation | None = None
    geo_secondary: bool = False
    notes: tuple[str, ...] = ()
    account: str | None = None
    standbys: tuple[Address, ...] = ()
    discovers_standbys: bool = False
    demo: Path | None = None
    ci: Address | None = None

    @property
    def release(self) -> str | None:
        """GitLab's version, such as `17.11.1-ee`, where the installation tells it."""
        return self.installation.version if self.installation else None

    @property
    def instance(self) -> Instance:
        """What this GitLab is called; its URL is read again from the installation's configuration."""
        url = None
        if self.installation is not None:
            with suppress(UnknownUrl):
                url = read_instance_url(self.installation)
        return Instance(url, self.address.shown, current().place, self.release)


def open_site(installation: Installation) -> Site:
    """Become the GitLab user where root asks, then read how the application reaches its database.

    Raises:
        Refused: this user may not.
        UsageError: the settings cannot be read as GitLab reads them.
    """
    if installation.user is not None:
        identity.become(installation.user, str(installation.database_yml))
    variables = _variables(installation)
    url = _variable(variables, URL_VARIABLE)
    run = partial(_run, installation, variables)
    settings = read_settings(_text(installation), run, url, _variable(variables, CI_URL_VARIABLE))
    notes = []
    if _variable(variables, IGNORED_VARIABLE):
        notes.append(f"{IGNORED_VARIABLE} is ignored, as GitLab ignores it: what counts is {URL_VARIABLE}.")
    defaults = _libpq_defaults(installation, variables)
    if "service" in {**defaults, **settings.parameters} and any(variables.get(name) for name in SERVICE_VARIABLES):
        raise UsageError(
            f"GitLab's database is a service of libpq that {' or '.join(SERVICE_VARIABLES)} leads to, which is not "
            "followed here; use --target postgresql://…."
        )
    return Site(
        _address(installation, {**defaults, **settings.parameters}),
        installation,
        settings.geo_secondary,
        tuple(notes),
        identity.account_name(),
        tuple(_address(installation, {**defaults, **parameters}) for parameters in settings.standbys),
        settings.discovers,
        ci=None if settings.ci is None else _address(installation, {**defaults, **settings.ci}),
    )


def _text(installation: Installation) -> str:
    path = installation.database_yml
    try:
        return path.read_bytes().decode()
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


def _variables(installation: Installation) -> dict[str, str]:
    """The application's environment.

    The Linux package keeps it in a folder with a file for each variable, and `chpst -e` reads it: the first line,
    without the blanks at its end; an empty file unsets its variable. What else a service of the package has is its
    account's own.
    """
    if installation.environment is None:
        return dict(os.environ)
    variables = _of_the_account()
    for path in _files(installation.environment):
        content = _read_variable(path)
        if content:
            variables[path.name] = os.fsdecode(content.split(b"\n")[0].rstrip(b" \t").replace(b"\0", b"\n"))
        else:
            variables.pop(path.name, None)
    return variables


def _variable(variables: Mapping[str, str], name: str) -> str | None:
    """A variable of the application's, or where it has none the administrator's, who says where the database is."""
    return variables[name] if name in variables else os.environ.get(name)


def _of_the_account() -> dict[str, str]:
    return {
        name: value
        for name, value in identity.child_environment().items()
        if name in OF_THE_ACCOUNT or name.startswith("LC_")
    }


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Refused(
            f"{folder}, GitLab's own environment, cannot be read: {_reason(error)}; run this as root."
        ) from None


def _read_variable(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}, a variable of GitLab's, cannot be read by {_whoami()}: {_reason(error)}.") from None


def _libpq_defaults(installation: Installation, variables: Mapping[str, str]) -> dict[str, str]:
    """What libpq takes from the application's environment where database.yml says nothing.

    Only the Linux package's is known; a shell's own variables must not lead astray.
    """
    if installation.environment is None:
        return {}
    found = {parameter: variables[name] for name, parameter in libpq_variables().items() if variables.get(name)}
    return {parameter: value for parameter, value in found.items() if parameter not in OURS}


def _run(installation: Installation, variables: Mapping[str, str], command: str) -> str:
    """What a `config_command` writes, run as GitLab runs it: split at blanks, by no shell, in the application's folder.

    GitLab (Gitlab::Popen): what comes on standard error is read after what comes on standard output. Neither is shown.
    """
    said = f"The config_command in database.yml ({command})"
    try:
        done = subprocess.run(
            re.findall(r"[^ \t\n\v\f\r\0]+", command),
            cwd=installation.rails,
            env=_environment_of_a_command(installation, variables),
            capture_output=True,
            timeout=COMMAND_TIME,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        printed = (done.stdout + done.stderr).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise TokensError(f"{said} cannot be run: {_reason(error)}.") from None
    except subprocess.TimeoutExpired:
        raise TokensError(f"{said} has not ended within {COMMAND_TIME} seconds.") from None
    if done.returncode != 0:
        raise TokensError(f"{said} failed with exit status {done.returncode}; {_as_gitlab(installation)}.")
    return printed


def _environment_of_a_command(installation: Installation, variables: Mapping[str, str]) -> dict[str, str]:
    """What a child finds in its environment: the application's, and nothing of the administrator's.

    A pod's own is the application's. What a service of a source install has is not known: its account's own then.
    """
    known = variables if installation.environment or installation.method is Method.TOOLBOX else _of_the_account()
    return {**{name: value for name, value in known.items() if "=" not in name}, "PWD": str(installation.rails)}


def _as_gitlab(installation: Installation) -> str:
    if installation.method is Method.SOURCE:
        return (
            "GitLab itself needs it, too, but its service may have variables that are not known here: "
            "use --target postgresql://…"
        )
    return "it ran as GitLab runs it, in the same folder with the same variables: GitLab itself needs it, too"


def _address(installation: Installation, settings: Mapping[str, str]) -> Address:
    parameters = dict(settings)
    if "service" not in parameters:  # which may say all of it
        # Where nothing is said libpq's own defaults hold: the socket, and role and database of the account's own name.
        account = identity.account_name()
        if "user" not in parameters and account is None:
            raise UsageError("database.yml names no username, and this process's account has no name to take instead.")
        parameters = {"user": account or "", **parameters}
        parameters = {"dbname": parameters["user"], **parameters}
    return Address(
        conninfo(parameters),
        f"{parameters.get('user', '')}@{shown_place(parameters)}",
        complete=True,
        advice=advice(installation, parameters, _whoami()),
    )


def _whoami() -> str:
    return identity.account_name() or f"number {os.geteuid()}"


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"
