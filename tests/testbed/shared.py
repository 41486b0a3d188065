"""What a run of the tests makes once, however many workers it has: whoever needs it first makes it, the others wait."""

import fcntl
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.folders import public_folder

_FOLDER = pytest.StashKey[Path]()
_UNTIL_THE_END = pytest.StashKey[ExitStack]()

Once = Callable[[str, Callable[[Path], object]], Path]


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_FOLDER] = Path(worker["run_folder"])
        return
    config.stash[_UNTIL_THE_END] = ExitStack()
    config.stash[_FOLDER] = config.stash[_UNTIL_THE_END].enter_context(public_folder())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["run_folder"] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    if _UNTIL_THE_END in config.stash:
        config.stash[_UNTIL_THE_END].close()


@pytest.fixture(scope="session")
def once(pytestconfig: pytest.Config) -> Once:
    """A folder of this name that `make` has filled, in this worker or in another; nobody changes anything in it."""
    return lambda name, make: _once(pytestconfig.stash[_FOLDER], name, make)


def _once(run_folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    folder, finished = run_folder / name, run_folder / f"{name}.finished"
    with (run_folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
            folder.mkdir()
            folder.chmod(0o755)
            make(folder)
            finished.touch()
    return folder
