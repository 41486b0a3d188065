"""What Invoke's configuration says about us, under `tokens:`: read here and nowhere else."""

import difflib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import invoke

from tokens.commands.environment import SYSLOG
from tokens.errors import Refused, UsageError

DEFAULTS: dict[str, Any] = {
    "target": "",
    "targets": {},
    "root": "/",
    "docker": "docker",
    "kubectl": "kubectl",
    "jobs": "",
    "four_eyes": "",
    "syslog": "",
    "syslog_names": "",
    "bundle": {"directory": ""},
    "demo": {"directory": ""},
}
"""Every key with its default. One flat tree: no variable of ours may collide with anybody's.

Invoke does not get them: it lays its files over what it gets, and ends with a traceback where one has `tokens: 5`.
"""

PLAIN = re.compile(r"(?=.{1,40}$)[a-z]+([_-][a-z]+)*")

LEVELS = ("runtime", "project", "user", "system")
"""Invoke's configuration files: the first of them that has a key counts."""

NUMBERS = ("jobs",)  # which YAML has as they are
MAPS = ("targets",)  # whose keys are the person's own


@dataclass(frozen=True)
class Configuration:
    """The keys under `tokens:`; empty is one that is not set. `syslog` is a socket, None where none is to be used."""

    target: str
    targets: Mapping[str, object]
    root: Path
    docker: str
    kubectl: str
    jobs: str
    four_eyes: bool
    syslog: Path | None
    syslog_names: bool
    bundle_directory: str
    demo_directory: str


def read_configuration(context: invoke.Context) -> Configuration:
    """The configuration with a default for each key that is not there.

    A variable goes before every file. Invoke reads those for the keys that it knows, from a file or a tasks.py, and has
    those of a file of `-f` the other way round: so they are read here.

    Raises:
        UsageError: it cannot be used, in one line that shows no value.
    """
    found = _found(context)
    targets = _map(found, "targets")
    bundle, demo = _map(found, "bundle"), _map(found, "demo")
    return Configuration(
        target=_text(found, "target"),
        targets=targets,
        root=Path(_text(found, "root") or DEFAULTS["root"]),
        docker=_text(found, "docker") or DEFAULTS["docker"],
        kubectl=_text(found, "kubectl") or DEFAULTS["kubectl"],
        jobs=_text(found, "jobs"),
        four_eyes=_flag(found, "four_eyes"),
        syslog=_syslog(found),
        syslog_names=_flag(found, "syslog_names"),
        bundle_directory=_text(bundle, "directory", "bundle"),
        demo_directory=_text(demo, "directory", "demo"),
    )


def refuse_others(context: invoke.Context, name: str) -> None:
    """Refuse root a setting below `tokens` that decides which programs run, or as whom, from somebody else's file.

    `root` decides as whom programs run: who may run this as root, and name a file, must not choose any account that
    way. So that one is taken from Invoke's file for the whole system and from the environment only.
    """
    for level in ("project", "user", "runtime") if os.geteuid() == 0 else ():
        if name not in _of_file(context, level):
            continue
        path = str(getattr(context.config, f"_{level}_path", None))
        if name == "root":
            raise Refused(
                f"tokens.root in {path} does not count for root, since it decides as whom programs run: "
                "use INVOKE_TOKENS_ROOT or /etc/invoke.yaml."
            )
        if not _is_roots(path):
            raise Refused(
                f"tokens.{name} in {path} does not count for root, since it decides which programs run, and others may "
                f"write that file: sudo chown root {path}; sudo chmod g-w,o-w {path}"
            )


def source_of(context: invoke.Context, name: str, variable: str) -> str:
    """What says the value of a key below `tokens` that is text: a variable, a file or a tasks.py; empty for nothing."""
    if os.environ.get(variable):
        return variable
    for level in LEVELS:
        if _of_file(context, level).get(name):
            return str(getattr(context.config, f"_{level}_path", None) or "Invoke's configuration")
    return "tasks.py" if _text(_found(context), name) else ""


def file_with_nothing(context: invoke.Context, name: str) -> str | None:
    """The file that sets a key below `tokens` to empty text, where that counts; None where none does."""
    for level in LEVELS:
        settings = _of_file(context, level)
        if name in settings:
            empty = isinstance(settings[name], str) and not settings[name].strip()
            return str(getattr(context.config, f"_{level}_path", None)) if empty else None
    return None


def _of_file(context: invoke.Context, level: str) -> Mapping[Any, Any]:
    """What one of Invoke's files has below `tokens`; nothing where it is empty, or all of it is commented out."""
    keys = getattr(context.config, f"_{level}", None)
    found = keys.get("tokens") if isinstance(keys, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_roots(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def unknown_keys(context: invoke.Context) -> Iterator[str]:
    """A sentence for each key under `tokens:`, and each variable, that nobody reads, with what may have been meant."""
    found = _found(context)
    yield from _unknown(found, DEFAULTS, "tokens")
    for name, known in DEFAULTS.items():
        if isinstance(known, dict) and name not in MAPS and isinstance(found.get(name), Mapping):
            yield from _unknown(found[name], known, f"tokens.{name}")
    yield from _unknown_variables(_map(found, "targets"))


def _found(context: invoke.Context) -> Mapping[str, Any]:
    found = context.config.get("tokens", {})
    if found is None:  # all of its keys are commented out
        return {}
    if not isinstance(found, Mapping):
        raise UsageError("tokens in Invoke's configuration must be a map of keys, such as target and targets.")
    return found


def _unknown(found: Mapping[Any, Any], known: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in found:
        if key in known:
            continue
        # What is no plain word may be an address with a password, or one alone.
        named = f"{place}.{key}" if PLAIN.fullmatch(str(key)) else f"A key under {place}"
        close = difflib.get_close_matches(str(key), known, n=1)
        meant = f'did you mean "{close[0]}"?' if close else f"those that count: {', '.join(known)}."
        yield f"{named} in Invoke's configuration is ignored, since there is no such key; {meant}"


def _unknown_variables(targets: Mapping[Any, Any]) -> Iterator[str]:
    paths: list[tuple[str, ...]] = [(name,) for name, default in DEFAULTS.items() if isinstance(default, str)]
    paths += [(name, inner) for name in ("bundle", "demo") for inner in DEFAULTS[name]]
    known = [_variable(*path) for path in (*paths, *(("targets", str(name)) for name in targets))]
    for name in sorted(os.environ):
        if name.startswith(_variable("")) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"those that count: {', '.join(known)}."
            yield f"{name} in the environment is ignored, since nothing reads it; {meant}"


def _variable(*path: str) -> str:
    """The variable that goes before a key below `tokens`."""
    return "_".join(("INVOKE_TOKENS", *path)).upper()


def _map(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name, {})
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"tokens.{name} in Invoke's configuration must be a map of names to values.")
    return value


def _flag(found: Mapping[str, Any], name: str) -> bool:
    """Whether it is on: in a file true or false, in the environment these words."""
    value = os.environ.get(_variable(name), found.get(name))
    word = str(value or False).lower()
    if word not in ("true", "false"):
        raise UsageError(f"tokens.{name} in Invoke's configuration must be true or false.")
    return word == "true"


def _syslog(found: Mapping[str, Any]) -> Path | None:
    value = os.environ.get(_variable("syslog"), found.get("syslog"))
    match str("" if value is None else value).lower():
        case "" | "true":
            return SYSLOG
        case "false":
            return None
        case _ if str(value).startswith("/"):
            return Path(str(value))
    raise UsageError("tokens.syslog in Invoke's configuration must be true, false or the path of a socket.")


def _text(found: Mapping[str, Any], name: str, group: str = "") -> str:
    path = [*filter(None, (group,)), name]
    value = os.environ.get(_variable(*path), found.get(name))  # Invoke lets a file of -f go before a variable
    if value is None:
        return ""
    if name in NUMBERS and type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"tokens.{'.'.join(path)} in Invoke's configuration must be text.")
    return value
