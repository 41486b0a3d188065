"""Marks by what a test stands on, so that none can be forgotten, and the group of what one worker runs alone.

A test's fixtures say what it needs: who takes `docker_engine` is marked `docker`. A module may say it itself, where its
tests make what they need.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from tokens.upgrade import Branch, revisions

MARKS = {
    "slow": "takes long, or promises on another server or of the test bed what quick tests do: not in README's command",
    "docker": "a Docker engine of our own: root and Debian's docker.io",
    "kubernetes": "kubectl against a stand-in of a cluster",
    "accounts": "accounts of this machine are added: root",
    "newest_server": "on the newest server alone: nothing depends on it, or what is compared is another text elsewhere",
    "first_elsewhere(parameter, …)": "on servers but the newest the first value of these parameters is enough",
    "each_release": "with a `revision`: every release on the newest server, the oldest and the newest on the others",
}

FIXTURES = {"docker_engine": "docker", "git": "accounts"}
"""What a test takes, to its mark."""

ALONE = ("docker_engine", "logical_servers", "replicated")
"""What costs seconds to begin: with several workers, one of them has it, and runs all tests that need it."""

SLOW = ("docker_engine", "bundles", "browser")
"""What takes longer to begin or to look at than README's command may, on a laptop; `.ci/run` has them all."""


def slow_ones(*values: object) -> list[Any]:
    """These values of `parametrize`, each with the mark; a tuple is for several arguments."""
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in values]


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.hookimpl(trylast=True)  # the server comes first in a test's name
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("each_release"):
        metafunc.parametrize("revision", _releases())


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks, and xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not any("[" in one for one in config.args):  # what was named by its values is what is wanted
        first = _first(items)
        items[:] = [item for item in items if not _crosses(item, first)]
    for item in items:
        taken = getattr(item, "fixturenames", ())
        for fixture, mark in FIXTURES.items():
            if fixture in taken:
                item.add_marker(mark)
        for fixture in ALONE:
            if fixture in taken:
                item.add_marker(pytest.mark.xdist_group(fixture))
        if _server(item) > 0 and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"server-{_server(item)}"))  # it is started and filled once
        assert len(list(item.iter_markers("xdist_group"))) < 2, f"{item.nodeid} would get a group of its own"
        if _server(item) > 0 or _is_between(item) or any(fixture in taken for fixture in SLOW):
            item.add_marker("slow")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop where groups come to nothing: xdist writes a group into a test's name, if this pytest lets it."""
    if getattr(session.config.option, "loadgroup", False):
        lost = [
            item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
        ]
        assert not lost, f"pytest {pytest.__version__} takes no group from pytest-xdist: {lost[0]}"


def _server(item: pytest.Item) -> int:
    """Which of the servers it runs on; 0, too, where it has none."""
    called = getattr(item, "callspec", None)
    return 0 if called is None else int(called.indices.get("server", 0))


def _crosses(item: pytest.Item, first: Mapping[str, object]) -> bool:
    """Whether it runs on another server than the newest, and tests nothing new there."""
    if _server(item) == 0:
        return False
    return _is_between(item) or _thinned(item) != first[_function(item)]


def _first(items: Iterable[pytest.Item]) -> Mapping[str, object]:
    """Of each function what its first test has for the parameters that are thinned."""
    found: dict[str, object] = {}
    for item in items:
        found.setdefault(_function(item), _thinned(item))
    return found


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _thinned(item: pytest.Item) -> Sequence[object]:
    """The values of the parameters that `first_elsewhere` names."""
    mark = item.get_closest_marker("first_elsewhere")
    if mark is None:
        return ()
    assert isinstance(item, pytest.Function)
    return [item.callspec.params[name] for name in mark.args]


def _is_between(item: pytest.Item) -> bool:
    """Whether it is about a release that is neither the oldest nor the newest."""
    if item.get_closest_marker("each_release") is None:
        return False
    assert isinstance(item, pytest.Function)
    oldest, *_, newest = _releases()
    return item.callspec.params["revision"] not in (oldest, newest)


@functools.cache  # each reading imports every migration
def _releases() -> tuple[str, ...]:
    """The revisions of the `gitlab` branch, oldest first."""
    return revisions(Branch.GITLAB)
