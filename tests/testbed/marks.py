"""Marks by what a test stands on, so that none can be forgotten, and the group of what one worker runs alone.

A test's fixtures say what it needs: who takes `docker_engine` is marked `docker`. A module may say it itself, where its
tests make what they need.
"""

import pytest

from tokens.upgrade import Branch, revisions

MARKS = {
    "slow": "takes seconds and more, beside what quick tests promise already: left out by README's command",
    "docker": "a Docker engine of our own: root and Debian's docker.io",
    "kubernetes": "kubectl against a stand-in of a cluster",
    "accounts": "accounts of this machine are added: root",
    "newest_server": "on the newest server alone: what is compared is another text on an older one",
    "each_release": "with a `revision`: every release on the newest server, the oldest and the newest on the others",
}

FIXTURES = {"docker_engine": "docker", "git": "accounts"}
"""What a test takes, to its mark."""

ALONE = ("docker_engine",)
"""What costs seconds to begin: with several workers, one of them has it, and runs all tests that need it."""


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.hookimpl(trylast=True)  # the server comes first in a test's name
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("each_release"):
        metafunc.parametrize("revision", revisions(Branch.GITLAB))


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks, and xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not _crosses(item)]
    for item in items:
        taken = getattr(item, "fixturenames", ())
        for fixture, mark in FIXTURES.items():
            if fixture in taken:
                item.add_marker(mark)
        for fixture in ALONE:
            if fixture in taken:
                item.add_marker(pytest.mark.xdist_group(fixture))


def _crosses(item: pytest.Item) -> bool:
    """Whether it is about a release in between on a server that is not the newest, which promises nothing more."""
    if item.get_closest_marker("each_release") is None:
        return False
    assert isinstance(item, pytest.Function)
    oldest, *_, newest = revisions(Branch.GITLAB)
    on_the_newest_server = item.callspec.indices["server"] == 0
    return not on_the_newest_server and item.callspec.params["revision"] not in (oldest, newest)
