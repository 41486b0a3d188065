"""Which targets there are: those that the configuration names, and what lies right here. Nothing is connected to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokens.errors import TokensError
from tokens.targets import demo
from tokens.targets.here import installation
from tokens.targets.here.installation import Method, NoInstallation
from tokens.targets.target import DatabaseTarget, parse_target

NAMES = {Method.OMNIBUS: "omnibus", Method.DOCKER: "omnibus"}  # how an installation right here is named, else `source`


@dataclass(frozen=True)
class Configured:
    """What the command line and the configuration say of targets.

    Attributes:
        names: the entries under `tokens.targets`.
        default: the target that counts without `--target`, empty for the GitLab right here.
        source: what says so: a variable or a file; empty where nothing does.
        root: where the machine's files are looked for.
        demo_directory: the demo's folder, None for the usual one.
    """

    names: Mapping[str, object]
    default: str
    source: str
    root: Path
    demo_directory: Path | None


@dataclass(frozen=True)
class KnownTarget:
    """A target as it can be typed, and what it is, without a password."""

    name: str
    text: str


@dataclass(frozen=True)
class Known:
    """The targets, and which one counts without `--target`: its name, None for none, and what says so."""

    targets: tuple[KnownTarget, ...]
    default: str | None
    source: str


def known(configured: Configured) -> Known:
    """The targets that there are.

    Raises:
        UsageError: the configuration of targets cannot be used.
    """
    parse_target("", configured.names)  # the names themselves
    here = _here(configured.root)
    targets = [KnownTarget(name, _shown(name, configured.names)) for name in configured.names]
    targets += [here] if here else []
    targets.append(KnownTarget("demo", demo.status(configured.demo_directory).state.value))
    default = configured.default
    if not default:
        return Known(
            tuple(targets), here.name if here else None, "the GitLab that is installed right here" if here else ""
        )
    if default not in [target.name for target in targets]:
        shown = _shown(default, configured.names)
        # An address may hold a password: it is known by what may be shown of it.
        targets.insert(0, KnownTarget(shown, "not among the names"))
        default = shown
    return Known(tuple(targets), default, configured.source)


def _shown(target: str, names: Mapping[str, object]) -> str:
    try:
        found = parse_target(target, names)
    except TokensError as error:
        return _unusable(error)
    return found.address.shown if isinstance(found, DatabaseTarget) else str(names.get(target, target))


def _unusable(error: TokensError) -> str:
    return f"cannot be used: {str(error).partition('; ')[0]}"


def _here(root: Path) -> KnownTarget | None:
    try:
        found = installation.detect(root)
    except NoInstallation:
        return None
    except TokensError as error:
        return KnownTarget("source", _unusable(error))
    text = f"{found.method.value}, GitLab {found.version or 'of unknown version'} in {found.rails}"
    return KnownTarget(NAMES.get(found.method, "source"), text)


def names(configured: Mapping[str, object]) -> Iterator[str]:
    """What can be typed as a target, for completion; what ends in a colon has to go on."""
    yield from map(str, configured)
    yield from ("demo", "docker:", "kubernetes:", "omnibus", "postgresql://", "source")
