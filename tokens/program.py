"""`gitlab-tokens`: the tasks as a program of their own, which is what root should use.

Unlike `inv` it imports no tasks.py from the current directory or above, runs no `~/.invoke.py` or `/etc/invoke.py`,
takes `tokens.analyze` and `gitlab:tokens:analyze` for `analyze` as the first task, has help of its own, and leaves with
2 when it is used wrongly.
"""

import ast
import gc
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from json import JSONDecodeError
from os import PathLike
from typing import Any

import invoke
from invoke.config import AmbiguousMergeError
from invoke.exceptions import ParseError, UnknownFileType
from invoke.parser import Parser, ParserContext
from invoke.vendor.yaml import YAMLError

import tokens
from tokens.call import Call, under_way
from tokens.cli.declaration import groups_in, tasks_in
from tokens.cli.option import listed
from tokens.commands.ending import Ending
from tokens.commands.environment import Environment
from tokens.commands.faults import for_nagios
from tokens.errors import ExitStatus, UsageError, shortened
from tokens.help.catalogue import Catalogue
from tokens.help.words import in_invokes_words
from tokens.namespace import ns
from tokens.rotation import AGENT
from tokens.terminal import console
from tokens.terminal.debug_log import HIDDEN, without_addresses
from tokens.terminal.interruption import Termination, interruptible, termination_as_error

FILES = "its files (/etc/invoke.yaml, ~/.invoke.yaml, -f FILE)"
SYSTEM = "/etc/"  # where Invoke looks for the file of everybody
MOST_READ = 65536  # characters of a file that is not ours
COMPLETE = "--complete"
PATIENCE = 3  # seconds that completion may take
# Its status 2 is an alarm, so what is typed wrongly has the plugin's status for "unknown", too.
FOR_NAGIOS = re.compile(r"(?:^| |\.)check (?:.* )?(?:--output[= ]|-o[= ]?)nagios(?: |$)", re.DOTALL)
PREFIXES = ("gitlab:tokens:", "tokens.")


class DataConfig(invoke.Config):
    """Invoke's configuration from YAML and JSON files; Python files would run as code."""

    def _load_py(self, path: str) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def _load_yaml(self, path: PathLike[str]) -> Any:
        return _unless_closed(super()._load_yaml, path)

    def _load_json(self, path: PathLike[str]) -> Any:
        return _unless_closed(super()._load_json, path)


class TokensProgram(invoke.Program):
    """Invoke's program over our namespace, with our exit statuses."""

    namespace: invoke.Collection
    _fault: UsageError | None = None  # of the configuration

    def normalize_argv(self, argv: list[str] | None) -> None:
        super().normalize_argv(argv)
        self.argv = list(self.argv)
        if self.argv[1:2] == [COMPLETE]:
            return
        # Up to the first task's name: what follows may be an option's value.
        for position, word in enumerate(self.argv[1:], 1):
            self.argv[position] = self._as_listed(word)
            if self.argv[position] in self.namespace.task_names:
                break
        self.argv[1:] = in_invokes_words(self.argv[1:], self._catalogue.tasks, self._catalogue.groups)

    def create_config(self) -> None:
        try:
            with _unreadable_configuration():
                super().create_config()
        except UsageError as error:
            # Help and the version need none of it. A task never gets past update_config.
            self._fault = error
            self.config = self.config_class(lazy=True)

    def parse_core(self, argv: list[str] | None) -> None:
        with self._wrong_use():
            super().parse_core(argv)

    def parse_core_args(self) -> None:
        if self.argv[1:2] == [COMPLETE]:
            self._complete(self.argv[3:])
            raise invoke.Exit
        super().parse_core_args()
        if shell := self.args["print-completion-script"].value:
            from tokens.help import completion

            if shell not in completion.SHELLS:
                raise invoke.Exit(
                    f"--print-completion-script takes {listed(completion.SHELLS)}: {self.binary} help completion",
                    code=ExitStatus.USAGE,
                )
            Environment.of_process().print(completion.script(shell), end="")
            raise invoke.Exit

    def parse_tasks(self) -> None:
        with self._wrong_use():
            super().parse_tasks()

    def _make_parser(self) -> Parser:
        """Invoke's, but only for tasks that the command line may name: to make and copy the options of all is slow."""
        # `--debug=TASK` names one, too, and so does `--help whose.TOKEN`, as `help whose TOKEN` is here: it is refused.
        words = {part for word in self.argv[1:] for sign in "=." for part in word.split(sign)}
        return Parser(
            contexts=[
                ParserContext(name, aliases, self.namespace[name].get_arguments())
                for name, aliases in self.namespace.task_names.items()
                if not words.isdisjoint((name, *aliases))
            ],
            initial=self.initial_context,
        )

    def parse_cleanup(self) -> None:
        with self._wrong_use():
            wanted = self.args.help.value
            if isinstance(wanted, str):
                self._print_page(self._as_listed(wanted))
                raise invoke.Exit
            group = self.args.list.value
            if isinstance(group, str) and group not in self._catalogue.groups:
                raise ParseError(f"No idea what {group!r} is!")
            super().parse_cleanup()

    def print_help(self) -> None:
        self._print_page("")

    def update_config(self, merge: bool = True) -> None:
        path = self.args.config.value or os.environ.get("INVOKE_RUNTIME_CONFIG")
        with self._wrong_use():
            if self._fault is not None:
                raise self._fault
            _check_file(path)
        _note_project_file(path)
        with self._wrong_use(), _unreadable_configuration():
            super().update_config(merge)
            # What Invoke does with it before each task: better here, where its complaint can be told from a task's.
            probe = self.config.clone()
            probe.load_collection(ns.configuration())
            probe.load_shell_env()

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self.binary, tasks_in(self.namespace), groups_in(self.namespace))

    def _print_page(self, name: str) -> None:
        """Print the page of a task or a group, of the program where `name` is empty, or one about it.

        Raises:
            ParseError: there is none.
        """
        # Of no use to a task that runs.
        from tokens.help import page

        columns = shutil.get_terminal_size().columns
        catalogue = self._catalogue
        if not name:
            text = page.front_page(catalogue, columns)
        elif name in catalogue.tasks:
            text = page.task_page(catalogue, name, columns)
        elif name in catalogue.groups:
            text = page.group_page(catalogue, name, columns)
        elif name == "completion":
            text = page.completion_page(columns)
        elif name == "options":
            text = page.core_page(
                self.binary, {name: said or "" for name, said in self.initial_context.help_tuples()}, columns
            )
        else:
            raise ParseError(f"No idea what {name!r} is!")
        Environment.of_process().print(text)

    def _complete(self, words: list[str]) -> None:
        """Print what may stand in the place of the last word, after the program's own; status 1 where it is a file."""
        from tokens.cli.lookup import look_up
        from tokens.help import completion

        # Somebody waits for a key to have its effect: better nothing than late.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(ExitStatus.DONE))
        signal.alarm(PATIENCE)
        words[1:] = map(self._as_listed, words[1:])
        try:
            found = completion.candidates(
                self._catalogue, words[1:] or [""], lambda *wanted: look_up(_context(), *wanted)
            )
        except completion.FileWanted:
            raise invoke.Exit(code=ExitStatus.FAILED) from None
        finally:
            signal.alarm(0)
        if found:
            Environment.of_process().print("\n".join(found))

    @contextmanager
    def _wrong_use(self) -> Iterator[None]:
        """Turn what Invoke makes of a wrong command line into one line of ours and status 2."""
        try:
            yield
        except (ParseError, UsageError, ValueError) as error:
            text = str(error) if isinstance(error, UsageError) else self._meant(error)
            ending = Ending(ExitStatus.USAGE, shortened(text))
            if FOR_NAGIOS.search(" ".join(self.argv or sys.argv)):
                ending = for_nagios(Environment.of_process(), ending)
            raise invoke.Exit(ending.message or None, code=int(ending.status)) from None

    def _meant(self, error: Exception) -> str:
        from tokens.help import mistakes

        text = " ".join(str(error).split())
        context = getattr(error, "context", None)
        task = context.name if context is not None else None
        if found := re.fullmatch(r"No idea what (.*) is!", text, re.DOTALL):
            word = str(ast.literal_eval(found[1]))
            return mistakes.unknown_word(self._catalogue, task, word, self.argv[1:], self._named_targets())
        if found := re.match(r"Flag <Argument: ([\w-]+).*> needed value", text):
            return mistakes.missing_value(self._catalogue, task, found[1])
        if isinstance(error, ValueError):  # Invoke's own options that take a number
            return f"One of Invoke's own options needs a number: {self.binary} help options lists them."
        return _discreet(error)

    def _named_targets(self) -> list[str]:
        """The names that the configuration gives to targets; none where it cannot be used."""
        with suppress(AttributeError, TypeError):
            return list(self.config.get("tokens", {}).get("targets", {}))
        return []

    def _as_listed(self, word: str) -> str:
        """A task that was named with one of the prefixes, or none, by its name here; any other word as it is."""
        bare = next((word.removeprefix(prefix) for prefix in PREFIXES if word.startswith(prefix)), word)
        names = (word, bare, f"tokens.{bare}") if bare != word else (word,)
        return next((name for name in names if name in self.namespace.task_names), word)


def main() -> None:
    """Run the console script, or the other side of a rotation in a container."""
    console.write_anything()
    if sys.argv[1:2] == [AGENT]:
        _answer_rotation()
    else:
        _run("gitlab-tokens", ns)


def inv() -> None:
    """Run as the `inv` of a bundle: the tasks have their full names, and no tasks.py is imported."""
    console.write_anything()
    _run("inv", invoke.Collection(ns))


def _run(name: str, namespace: invoke.Collection) -> None:
    environment = Environment.of_process()
    try:
        TokensProgram(
            name=name,
            version=tokens.__version__,
            namespace=namespace,
            config_class=DataConfig,
            binary=name,
            binary_names=[name],
        ).run()
        environment.flush()
    except OSError as error:
        if isinstance(error.__context__, invoke.Exit):
            # Its message could not be written. The status is what it is.
            console.discard(environment.stderr)
            sys.exit(error.__context__.code)
        fault = console.output_fault(error, environment.stdout)
        if fault is None:
            raise
        sys.exit(fault or ExitStatus.DONE)


def _answer_rotation() -> None:
    """Answer one request of `rotate` outside, on standard input; of Invoke there is only its configuration in this."""
    environment = Environment.of_process()
    stdin = environment.stdin
    if stdin is None or console.is_terminal(stdin) or console.is_terminal(environment.stdout):
        environment.tell(f"{AGENT} is what rotate runs in a container: use rotate with --target docker:CONTAINER.")
        sys.exit(ExitStatus.USAGE)
    gc.set_threshold(50_000)  # as for tasks: this process ends after one step
    try:
        with interruptible(), termination_as_error():
            context = _context()
            from tokens.cli.configuration import unknown_keys
            from tokens.cli.target import TargetOption, locator
            from tokens.rotation.agent import answer

            for sentence in unknown_keys(context):
                environment.tell(f"NOTE: {sentence}")
            with under_way(Call.of_environment() or Call()):
                environment.print(answer(stdin.read(), locator(TargetOption(context, None), environment)))
    except invoke.Exit as error:
        environment.tell(error.message or "")
        sys.exit(error.code)
    except Termination:
        sys.exit(ExitStatus.TERMINATED)
    except KeyboardInterrupt:
        sys.exit(ExitStatus.INTERRUPTED)


def _context() -> invoke.Context:
    """What a task without options would be given, with the configuration that counts for this program."""
    program = TokensProgram(name="gitlab-tokens", namespace=ns, config_class=DataConfig, binary="gitlab-tokens")
    program.create_config()
    program.parse_core(["gitlab-tokens"])
    program.update_config()
    program.config.load_collection(ns.configuration())
    program.config.load_shell_env()
    return invoke.Context(program.config)


def _unless_closed(load: Callable[[PathLike[str]], Any], path: PathLike[str]) -> Any:
    """A file that this account may not read is somebody else's: HOME may still be root's.

    The one for the whole system is everybody's, and may demand four eyes.
    """
    try:
        return load(path)
    except PermissionError:
        if os.fspath(path).startswith(SYSTEM):
            raise
        return {}


def _discreet(error: Exception) -> str:
    """The error in one line, without what it quotes where that may hold a password."""
    text = " ".join(str(error).split())
    shown = without_addresses(text)
    return shown if shown == text else f"{shown} ({HIDDEN} is not repeated, since it may hold a password)"


def _note_project_file(named: str | None) -> None:
    """Say that a file which counts for `inv` does not count here, if it is about us. It is not read as YAML or JSON.

    One that was `named` counts, wherever it lies.
    """
    for suffix in ("yaml", "yml", "json"):
        name = f"invoke.{suffix}"
        with suppress(OSError):
            if not os.path.isfile(name) or (named and os.path.samefile(name, named)):
                continue
            with open(name, encoding="utf-8", errors="replace") as file:
                about_us = re.search(r"""^\s*\{?\s*["']?tokens["']?\s*:""", file.read(MOST_READ), re.MULTILINE)
            if about_us:
                Environment.of_process().tell(
                    f"NOTE: ./{name} counts for `inv` only: gitlab-tokens takes nothing from the current folder. Use "
                    f"/etc/invoke.yaml, ~/.invoke.yaml or -f {name}."
                )
            return


def _check_file(path: str | None) -> None:
    """Refuse a file that was named for the configuration and is none."""
    if not path:
        return
    if not os.path.exists(path):
        raise UsageError(f"There is no file {path}, which was to be the configuration.")
    if path.endswith(".py") or not os.path.isfile(path):
        raise UsageError(f"{path} is not a configuration file in YAML or JSON.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"The configuration file {path} may not be read by this account.")


@contextmanager
def _unreadable_configuration() -> Iterator[None]:
    """One line and status 2 for whatever Invoke says of a configuration that it cannot use; values are not shown."""
    try:
        yield
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = f'"{mark.name}" is not YAML in line {mark.line + 1}' if mark else "it is not YAML"
    except PermissionError as error:
        raise UsageError(
            f"{error.filename} may not be read by this account, and it may demand four eyes: sudo chmod a+r "
            f"{error.filename}"
        ) from None
    except (OSError, UnknownFileType) as error:
        reason = _discreet(error)
    except JSONDecodeError as error:
        reason = f"one of {FILES} is not JSON in line {error.lineno}"
    except AmbiguousMergeError:
        reason = f"a key has a map in one of {FILES}, and none in another"
    except (AttributeError, TypeError):
        reason = f"one of {FILES} is no map of keys"
    except Exception as error:
        reason = f"{type(error).__name__} in one of its values"
    else:
        return
    raise UsageError(
        f"Invoke's configuration cannot be used: {reason}. The values of tokens.target, tokens.bundle.directory and "
        "tokens.demo.directory are text; that of tokens.targets is a map of names to targets."
    )
