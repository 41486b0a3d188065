"""The tool in a container or pod, asked out of sight."""

from collections.abc import Sequence
from pathlib import Path

from tokens.secret import Secret
from tokens.targets.target import RemoteTarget
from tokens.targets.there import bundle, remote
from tokens.targets.there.client import Place, SecretAnswer
from tokens.targets.there.remote import RemoteCommand, Report


class RemoteTool:
    """The tool beside the GitLab that a target means; it is carried there if need be.

    Args:
        target: a container or pod.
        client: the words of docker or kubectl.
        bundles: the folder with the tool's bundles, None for the usual one.
        caller: who asks, such as `alice@laptop`: a claim for the record that changes keep.
        report: gets a line on what takes time.
    """

    def __init__(
        self, target: RemoteTarget, *, client: tuple[str, ...], bundles: Path | None, caller: str, report: Report
    ) -> None:
        self._target = target
        self._client = client
        self._bundles = bundles
        self._caller = caller
        self._report = report
        self._place: Place | None = None

    @property
    def shown(self) -> str:
        """What messages call the container or pod, once it was found."""
        return self._place.shown if self._place else "the container"

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
            self._place = remote.find_place(self._target, self._report, self._client)
        command = RemoteCommand(tuple(words), caller=self._caller, terminal=False, shown_by=shown_by)
        found = bundle.available(self._bundles)
        return remote.consult(self._place, command, feed, patience, found, self._build, self._report)

    def forget(self) -> None:
        """Look for the container or pod again before the next question: it may be another one by then."""
        self._place = None

    def _build(self) -> bundle.Bundle:
        self._report("Packing the tool to carry it there")
        return bundle.build(self._bundles)
