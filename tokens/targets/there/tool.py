"""The tool in a container or pod, asked out of sight."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokens.secret import Secret
from tokens.targets.target import RemoteTarget
from tokens.targets.there import bundle, remote
from tokens.targets.there.client import Place, SecretAnswer
from tokens.targets.there.remote import RemoteCommand, ReportStep


@dataclass(frozen=True)
class Way:
    """The way into a container or pod.

    Attributes:
        target: a container or pod.
        client: the words of docker or kubectl.
        bundles: the folder with the tool's bundles, None for the usual one.
    """

    target: RemoteTarget
    client: tuple[str, ...]
    bundles: Path | None

    def find(self, report: ReportStep) -> Place:
        """The running container or pod. Raises as `tokens.targets.there.remote.find_place`."""
        return remote.find_place(self.target, report, self.client)

    def pack(self, report: ReportStep) -> bundle.Bundle:
        """Build the bundle that is carried there."""
        report("Packing the tool to carry it there")
        return bundle.build(self.bundles)


class RemoteTool:
    """The tool beside the GitLab that a target means; it is carried there if need be.

    Args:
        way: into the container or pod.
        caller: who asks, such as `alice@laptop`: a claim for the record that changes keep.
        report: gets a line on what takes time.
        tell: says to people what the tool there says to them.
    """

    def __init__(self, way: Way, *, caller: str, report: ReportStep, tell: Callable[[str], None]) -> None:
        self._way = way
        self._caller = caller
        self._report = report
        self._tell = tell
        self._told: set[str] = set()
        self._place: Place | None = None

    @property
    def shown(self) -> str:
        """What messages call the container or pod, once it was found."""
        return self._place.shown if self._place else "the container"

    @property
    def removal(self) -> str:
        """The end of a message: what to type to remove the tool that is installed there."""
        return remote.removal(self._place) if self._place else ""

    def ask(
        self,
        words: Sequence[str],
        feed: bytes | Secret,
        patience: float,
        shown_by: tuple[object, ...] = ("analyze",),
    ) -> SecretAnswer:
        """Run the tool there with `feed` on its standard input; what it said within this number of seconds.

        `shown_by` is the task, with its options, that shows what came of it where the answer is lost.

        Raises:
            SessionLost, ClientError, UsageError: see `tokens.targets.there.remote`.
        """
        if self._place is None:
            self._place = self._way.find(self._report)
        command = RemoteCommand(tuple(words), caller=self._caller, terminal=False, shown_by=shown_by)
        found = bundle.available(self._way.bundles)
        report = self._report
        return remote.consult(self._place, command, feed, patience, found, lambda: self._way.pack(report), report)

    def tell(self, answer: SecretAnswer, known: Container[str] = ()) -> None:
        """Say to people what an answer has on standard error, each line once: each run there says it again.

        Notes that are `known` are left out.
        """
        for line in answer.err.splitlines():
            if line not in self._told and line.removeprefix("NOTE: ") not in known:
                self._told.add(line)
                self._tell(line)

    def forget(self) -> None:
        """Look for the container or pod again before the next question: it may be another one by then."""
        self._place = None
