"""What Invoke's configuration says about us, under `tokens:`: read here and nowhere else."""

import difflib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import invoke

from tokens.commands.environment import Syslog
from tokens.errors import Refused, UsageError

PLAIN = re.compile(r"(?=.{1,40}$)[a-z]+([_-][a-z]+)*")

LEVELS = ("runtime", "project", "user", "system")
"""Invoke's configuration files: the first of them that has a key counts."""


def _map(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("a map of names to values")
    return value


def _flag(value: Any) -> bool:
    """Whether it is on: in a file true or false, in the environment these words."""
    word = str(value or False).lower()
    if word not in ("true", "false"):
        raise ValueError("true or false")
    return word == "true"


def _socket(value: Any) -> Syslog | None:
    match str("" if value is None else value).lower():
        case "" | "true":
            return Syslog()
        case "false":
            return None
        case _ if str(value).startswith("/"):
            return Syslog(Path(str(value)), named=True)
    raise ValueError("true, false or the path of a socket")


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise ValueError("text")
    return value or ""


def _number(value: Any) -> str:
    return str(value) if type(value) is int else _text(value)  # as YAML has it


@dataclass(frozen=True)
class Key:
    """A key below `tokens`, with a dot where it is in a map: what it is for, and what reads its value.

    `read` raises ValueError with what the value must be.
    """

    name: str
    help: str
    read: Callable[[Any], Any]

    @property
    def path(self) -> tuple[str, ...]:
        """Its names, from `tokens` on."""
        return tuple(self.name.split("."))

    @property
    def variable(self) -> str:
        """The variable that goes before it; empty for a map."""
        return "" if self.read is _map else _variable(*self.path)

    def value(self, found: Mapping[str, Any]) -> Any:
        """What it says in `found`, or its variable does, as `read` makes it; UsageError for what that does not take."""
        *groups, name = self.path
        for group in groups:
            found = _map_of(found, group)
        given = os.environ.get(self.variable, found.get(name))  # Invoke lets a file of -f go before a variable
        try:
            return self.read(given)
        except ValueError as error:
            raise UsageError(f"tokens.{self.name} in Invoke's configuration must be {error}.") from None


KEYS = (
    Key("target", "The target that counts where --target is not given.", _text),
    Key("targets", "Names for targets: a map from each name to a target in words.", _map),
    Key(
        "root",
        "Where the machine's files are looked for. For root it counts in /etc/invoke.yaml and as a variable only.",
        lambda value: Path(_text(value) or "/"),
    ),
    Key("docker", "The program that goes into containers, such as podman.", lambda value: _text(value) or "docker"),
    Key("kubectl", "The program that goes into pods, such as oc.", lambda value: _text(value) or "kubectl"),
    Key(
        "four_eyes",
        "true: who plans a change may not carry it out. journal.four-eyes demands that of everybody.",
        _flag,
    ),
    Key("jobs", "How many connections share a change where --jobs is not given.", _number),
    Key(
        "syslog",
        "A line for each run that has ended, and for what is done to the journal itself: true, false, or the path of "
        "a socket. Default: /dev/log.",
        _socket,
    ),
    Key("syslog_names", "true: that line has the names of the run's first three tokens, too.", _flag),
    Key("bundle.directory", "The folder of bundles.", _text),
    Key("demo.directory", "The folder of the demo.", _text),
)
"""Every key, in the order of help. One flat tree: no variable of ours may collide with anybody's.

Invoke gets no defaults: it lays its files over what it gets, and ends with a traceback where one has `tokens: 5`.
"""


@dataclass(frozen=True)
class Configuration:
    """The keys under `tokens:`; empty is one that is not set. `syslog` is None where none is to be used."""

    target: str
    targets: Mapping[str, object]
    root: Path
    docker: str
    kubectl: str
    jobs: str
    four_eyes: bool
    syslog: Syslog | None
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
    return Configuration(**{key.name.replace(".", "_"): key.value(found) for key in KEYS})


def refuse_others(context: invoke.Context, name: str) -> None:
    """Refuse root a setting below `tokens` that decides which programs run, or as whom, from somebody else's file.

    `root` decides as whom programs run: who may run this as root, and name a file, must not choose any account that
    way. So that one is taken from Invoke's file for the whole system and from the environment only.
    """
    if os.geteuid() != 0:
        return
    for level, path, keys in _files(context):
        if name not in keys:
            continue
        if name == "root" and level != "system":
            raise Refused(
                f"tokens.root in {path} does not count for root, since it decides as whom programs run: "
                "use INVOKE_TOKENS_ROOT or /etc/invoke.yaml."
            )
        if not _is_roots(path):
            raise Refused(
                f"tokens.{name} in {path} does not count for root, since it decides which programs run, and others may "
                f"write that file: sudo chown root {path}; sudo chmod g-w,o-w {path}"
            )


def source_of_target(context: invoke.Context) -> str:
    """What says which target counts: a variable, a file or a tasks.py; empty for nothing."""
    if os.environ.get(_variable("target")):
        return _variable("target")
    named = (path for _, path, keys in _files(context) if keys.get("target"))
    return next(named, "tasks.py" if read_configuration(context).target else "")


def file_with_empty_target(context: invoke.Context) -> str | None:
    """The file that sets the target to empty text, where that counts; None where none does."""
    for _, path, keys in _files(context):
        if "target" in keys:
            return path if isinstance(keys["target"], str) and not keys["target"].strip() else None
    return None


def _files(context: invoke.Context) -> Iterator[tuple[str, str, Mapping[Any, Any]]]:
    """Invoke's files that have keys below `tokens`: the level of each, its path and these keys. The first counts."""
    for level in LEVELS:
        everything = getattr(context.config, f"_{level}", None)
        keys = everything.get("tokens") if isinstance(everything, Mapping) else None
        if isinstance(keys, Mapping):  # which they are not where all of them are commented out
            yield level, str(getattr(context.config, f"_{level}_path", None) or "Invoke's configuration"), keys


def _is_roots(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def unknown_keys(context: invoke.Context) -> Iterator[str]:
    """A sentence for each key under `tokens:`, and each variable, that nobody reads, with what may have been meant."""
    found = _found(context)
    yield from _unknown(found, list(dict.fromkeys(key.path[0] for key in KEYS)), "tokens")
    for group in dict.fromkeys(key.path[0] for key in KEYS if len(key.path) > 1):
        if isinstance(found.get(group), Mapping):
            known = [key.path[1] for key in KEYS if key.path[0] == group]
            yield from _unknown(found[group], known, f"tokens.{group}")
    yield from _unknown_variables(_map_of(found, "targets"))


def _found(context: invoke.Context) -> Mapping[str, Any]:
    found = context.config.get("tokens", {})
    if found is None:  # all of its keys are commented out
        return {}
    if not isinstance(found, Mapping):
        raise UsageError("tokens in Invoke's configuration must be a map of keys, such as target and targets.")
    return found


def _map_of(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = Key(name, "", _map).value(found)
    return value


def _unknown(found: Mapping[Any, Any], known: Sequence[str], place: str) -> Iterator[str]:
    for key in found:
        if key in known:
            continue
        # What is no plain word may be an address with a password, or one alone.
        named = f"{place}.{key}" if PLAIN.fullmatch(str(key)) else f"A key under {place}"
        close = difflib.get_close_matches(str(key), known, n=1)
        meant = f'did you mean "{close[0]}"?' if close else f"those that count: {', '.join(known)}."
        yield f"{named} in Invoke's configuration is ignored, since there is no such key; {meant}"


def _unknown_variables(targets: Mapping[Any, Any]) -> Iterator[str]:
    known = [key.variable for key in KEYS if key.variable] + [_variable("targets", str(name)) for name in targets]
    for name in sorted(os.environ):
        if name.startswith(_variable("")) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"those that count: {', '.join(known)}."
            yield f"{name} in the environment is ignored, since nothing reads it; {meant}"


def _variable(*path: str) -> str:
    """The variable that goes before a key below `tokens`."""
    return "_".join(("INVOKE_TOKENS", *path)).upper()
