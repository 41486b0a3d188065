"""The target, resolved once: from its words to the GitLab that a command works on, or the container to go into."""

import os
import shlex
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import invoke

from tokens.call import Call
from tokens.cli.called import later_tasks, program
from tokens.cli.configuration import (
    Configuration,
    file_with_empty_target,
    read_configuration,
    refuse_others,
    source_of_target,
)
from tokens.commands.environment import Environment
from tokens.errors import UsageError
from tokens.targets.target import (
    DatabaseTarget,
    DemoTarget,
    DockerTarget,
    KubernetesTarget,
    RemoteTarget,
    Target,
    absolute_path,
    parse_target,
)

if TYPE_CHECKING:
    from tokens.address import Address
    from tokens.targets.here.site import Site
    from tokens.targets.known import Configured
    from tokens.targets.there.tool import Way

VARIABLE = "INVOKE_TOKENS_TARGET"


class TargetOption:
    """What `--target` says in one call, and the configuration that counts there: each is read once, and when asked for.

    Args:
        context: Invoke's.
        typed: what the option was given, None where it was not.
    """

    def __init__(self, context: invoke.Context, typed: str | None) -> None:
        self.context = context
        self.typed = typed

    @cached_property
    def configuration(self) -> Configuration:
        """Raises UsageError where it cannot be used."""
        return read_configuration(self.context)

    @cached_property
    def target(self) -> Target:
        """What the option means, else the configuration. Raises UsageError where that is nothing."""
        text = self.typed or self.configuration.target
        _refuse_empty(self.context, text)
        return self.parsed(text)

    @property
    def remote(self) -> RemoteTarget | None:
        """The container or pod that a task has to go into; None where it runs right here."""
        return self.target if isinstance(self.target, DockerTarget | KubernetesTarget) else None

    @property
    def shows_password(self) -> bool:
        """Whether an address was typed that has a password in it."""
        return self.typed is not None and self._holds_password(self.typed)

    @property
    def may_hold_password(self) -> bool:
        """Whether what counts is such an address, or no target at all."""
        return self._holds_password(self.typed or self.configuration.target, in_doubt=True)

    def call(self, task: str) -> Call:
        """How `task`, by its full name, was called: what begins a command line that can be typed next.

        A target that may hold a password is left out of it: an address with one, and what is no target at all.
        """
        words = program(self.context, task)
        try:
            place = self.typed or self.configuration.target or None
        except UsageError:  # which the task itself says
            return Call(words, withheld=bool(self.typed))
        if self.may_hold_password:
            return Call(words, withheld=bool(self.typed))
        return Call(words, self.typed, place=place)

    def parsed(self, text: str) -> Target:
        """What `text` means beside it. Raises UsageError where that is nothing."""
        return parse_target(text, self.configuration.targets)

    def _holds_password(self, text: str, *, in_doubt: bool = False) -> bool:
        try:
            found = self.target
            names = self.configuration.targets
        except UsageError:
            return in_doubt
        return text not in names and isinstance(found, DatabaseTarget) and found.has_password


def there(option: TargetOption, environment: Environment) -> "Way | None":
    """The way into the container or pod that is meant; None for right here."""
    if option.remote is None:
        return None
    from tokens.targets.there.tool import Way

    return Way(option.remote, client(option, option.remote), bundle_folder(option, environment))


def locator(option: TargetOption, environment: Environment) -> "Callable[[], Site]":
    """What finds the database and the installation around it, and becomes its user from then on."""

    def locate() -> "Site":
        from tokens.targets.here import identity
        from tokens.targets.places import open_place

        refuse_others(option.context, "root")
        before = identity.account_name()
        steps = environment.steps()
        site = open_place(
            option.target,
            root=option.configuration.root,
            demo_directory=demo_directory(option, environment),
            report=lambda progress: steps.show(progress.text, progress.done, progress.total),
        )
        notes = list(site.notes)
        if site.account != before and site.installation is not None and (later := later_tasks()):
            notes.append(
                f"This process is {site.account} from now on, for the tasks that follow, too: {', '.join(later)}."
            )
        for note in notes:
            environment.tell(f"NOTE: {note}")
        return site

    return locate


def local_address(option: TargetOption, environment: Environment) -> "Address | None":
    """The database that a target means, None where that is in a container, or a demo that does not run."""
    if option.remote is not None:
        return None
    if isinstance(option.target, DemoTarget):
        from tokens.targets import demo

        return demo.address_if_ready(demo_directory(option, environment))
    return locator(option, environment)().address


def configured(option: TargetOption, environment: Environment) -> "Configured":
    """The targets that have names, and which one counts without `--target`."""
    from tokens.targets.known import Configured

    refuse_others(option.context, "root")
    configuration = option.configuration
    _refuse_empty(option.context, configuration.target)
    return Configured(
        names=configuration.targets,
        default=configuration.target,
        source=source_of_target(option.context),
        root=configuration.root,
        demo_directory=demo_directory(option, environment),
    )


def client(option: TargetOption, target: RemoteTarget) -> tuple[str, ...]:
    """The words of the program that goes into containers or pods, as the configuration names it.

    Raises:
        UsageError: they cannot be distinguished.
        Refused: this is root, and others may write the file that names it.
    """
    name = "docker" if isinstance(target, DockerTarget) else "kubectl"
    refuse_others(option.context, name)
    said = option.configuration.docker if name == "docker" else option.configuration.kubectl
    try:
        words = shlex.split(said)
    except ValueError as error:
        raise UsageError(f'tokens.{name} is a program with its first words, not "{said}": {error}.') from None
    return tuple(words) or (name,)


def standbys(option: TargetOption, standby: Sequence[str] | None) -> "tuple[Address, ...] | None":
    """The standbys that an option names, each a database or a configured name for one; None where it names none.

    Raises:
        UsageError: one that is no postgresql://… address.
    """
    addresses = []
    for word in standby or ():
        found = option.parsed(word)
        if not isinstance(found, DatabaseTarget):
            raise UsageError(
                "--standby takes postgresql://… or a configured name for one, and was given another target."
            )
        addresses.append(found.address)
    return tuple(addresses) or None


def holds_password(text: str) -> bool:
    """Whether text that was typed is an address with a password in it."""
    try:
        found = parse_target(text, {})
    except UsageError:
        return False
    return isinstance(found, DatabaseTarget) and found.has_password


def bundle_place(
    option: TargetOption, environment: Environment, directory: str | None
) -> tuple[RemoteTarget, tuple[str, ...]] | Path | None:
    """Where bundles lie: a container or pod with the words of its program, or a folder here, None for the usual one.

    Raises:
        UsageError: a target was given with a folder, or one that is no container and no pod.
    """
    found = option.remote
    if option.typed and (found is None or directory):
        raise UsageError("bundle.clean takes a container or pod as target, or else the folder of bundles here.")
    return bundle_folder(option, environment, directory) if found is None else (found, client(option, found))


def bundle_folder(
    option: TargetOption,
    environment: Environment,  # noqa: ARG001
    directory: str | None = None,
) -> Path | None:
    """The folder that the option or the configuration gives bundles, None for the usual one."""
    if not directory:
        refuse_others(option.context, "bundle")
    named = directory or option.configuration.bundle_directory
    return absolute_path(Path(named)) if named else None


def demo_directory(
    option: TargetOption,
    environment: Environment,  # noqa: ARG001
) -> Path | None:
    """The folder that the configuration gives the demo, None for the usual one."""
    directory = option.configuration.demo_directory
    try:
        return Path(directory).expanduser() if directory else None
    except RuntimeError:
        raise UsageError(
            f"tokens.demo.directory is in the home folder of an account that is not here: {directory}."
        ) from None


def four_eyes(option: TargetOption, environment: Environment) -> bool:  # noqa: ARG001
    """Whether the configuration demands that nobody carries out a plan of their own."""
    return option.configuration.four_eyes


def _refuse_empty(context: invoke.Context, text: str) -> None:
    """Refuse a variable or a key that is set to nothing: in a script it must not mean the GitLab right here."""
    if text.strip():
        return
    if VARIABLE in os.environ:
        raise UsageError(f"{VARIABLE} is set, but to nothing: give it a target, or unset it for the GitLab right here.")
    if path := file_with_empty_target(context):
        raise UsageError(
            f"tokens.target in {path} is set to nothing: give it a target, or take it out for the GitLab right here."
        )
