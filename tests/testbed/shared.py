"""What a run of the tests makes once, however many workers it has: whoever needs it first makes it, the others wait."""

import fcntl
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.folders import public_folder, remove_leftovers

_UNTIL_THE_END = pytest.StashKey[ExitStack]()

_folder: Path  # the run's; set when it begins


def pytest_configure(config: pytest.Config) -> None:
    global _folder
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        _folder = Path(worker["run_folder"])
        return
    remove_leftovers()
    config.stash[_UNTIL_THE_END] = ExitStack()
    _folder = config.stash[_UNTIL_THE_END].enter_context(public_folder())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["run_folder"] = str(_folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _UNTIL_THE_END in config.stash:
        config.stash[_UNTIL_THE_END].close()


def once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder of this name that `make` has filled, in this worker or in another; nobody changes anything in it."""
    folder, finished = _folder / name, _folder / f"{name}.finished"
    with (_folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
            folder.mkdir()
            folder.chmod(0o755)
            make(folder)
            finished.touch()
    return folder
