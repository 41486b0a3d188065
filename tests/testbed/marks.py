"""Marks by what a test stands on, so that none can be forgotten, and the group of what one worker runs alone.

A test's fixtures say what it needs: who takes `docker_engine` is marked `docker`. A module may say it itself, where its
tests make what they need.
"""

import pytest

MARKS = {
    "slow": "takes seconds and more, beside what quick tests promise already: left out by README's command",
    "docker": "a Docker engine of our own: root and Debian's docker.io",
    "kubernetes": "kubectl against a stand-in of a cluster",
    "accounts": "accounts of this machine are added: root",
}

FIXTURES = {"docker_engine": "docker", "git": "accounts"}
"""What a test takes, to its mark."""

ALONE = ("docker_engine",)
"""What costs seconds to begin: with several workers, one of them has it, and runs all tests that need it."""


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks, and xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        taken = getattr(item, "fixturenames", ())
        for fixture, mark in FIXTURES.items():
            if fixture in taken:
                item.add_marker(mark)
        for fixture in ALONE:
            if fixture in taken:
                item.add_marker(pytest.mark.xdist_group(fixture))
