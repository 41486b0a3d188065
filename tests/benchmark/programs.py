"""The program as a process: how long it takes to start, installed, from the bundle and inside a container."""

import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

from tests.benchmark.figures import judge, say, timed
from tests.testbed.docker import engine, image
from tests.testbed.docker.engine import Engine
from tokens.targets import demo as demos
from tokens.targets.there import bundle as bundles
from tokens.targets.there.bundle import Bundle

LIBRARIES = "import invoke, psycopg"
RUNS = 15
COLD_RUNS = 5


def measure_start() -> None:
    """The whole process of `inv tokens.analyze` on a demo that runs, beside a Python that does nothing."""
    binaries = Path(sys.executable).parent
    inv = [str(binaries / "inv"), "tokens.analyze", "--target", "demo"]
    script = [str(binaries / "gitlab-tokens"), "analyze", "--target", "demo"]
    subprocess.run(inv, check=True, capture_output=True)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "the libraries' imports alone": [sys.executable, "-c", LIBRARIES],
        "inv tokens.analyze": inv,
        "gitlab-tokens analyze": script,
    }
    medians = measure_commands("start", commands)
    judge("start: the task as a whole", medians["inv tokens.analyze"], 0.45, unit=" s")


@contextmanager
def built_bundle() -> Iterator[tuple[Bundle, Path]]:
    """A bundle, and its program unpacked where every account may run it."""
    folder = Path(tempfile.mkdtemp(prefix="tokens-"))
    folder.chmod(0o755)
    try:
        seconds = timed(lambda: bundles.build(folder))
        bundle = bundles.available(folder)
        assert bundle is not None
        say("bundle: build", f"{seconds:.1f} s")
        with tarfile.open(bundle.path) as tar:
            say("bundle: unpack", f"{timed(lambda: tar.extractall(folder / 'there', filter='tar')):.1f} s")
        yield bundle, folder / "there/gitlab-tokens"
    finally:
        shutil.rmtree(folder)


def measure_bundle(bundle: Bundle, program: Path) -> None:
    """The bundle's size, and its start from a warm and from a cold page cache, beside the installed program's."""
    files = [path for path in program.parent.rglob("*") if path.is_file()]
    say("bundle: packed", f"{bundle.path.stat().st_size / 2**20:.1f} MiB")
    say("bundle: unpacked", f"{sum(path.stat().st_size for path in files) / 2**20:.1f} MiB", f"{len(files):,} files")
    installed = str(Path(sys.executable).parent / "gitlab-tokens")
    words = ["analyze", "--target", "demo"]
    subprocess.run([installed, *words], check=True, capture_output=True)
    named = os.environ.get("INVOKE_TOKENS_DEMO_DIRECTORY")
    demo = demos.status(Path(named) if named else None).address.conninfo
    words = ["analyze", "--target", f"postgresql:///?{urlencode(conninfo_to_dict(demo))}"]
    measure_commands(
        "bundle",
        {
            "gitlab-tokens --version": [str(program), "--version"],
            "gitlab-tokens analyze": [str(program), *words],
            "the installed program's analyze": [installed, *words],
        },
    )
    cold = []
    for _ in range(COLD_RUNS):
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        cold.append(timed(partial(subprocess.run, [str(program), *words], check=True, capture_output=True)))
    say(
        "bundle: gitlab-tokens analyze, cold",
        f"{statistics.median(cold):.3f} s",
        f"median of {COLD_RUNS} runs, its files evicted",
    )


def measure_docker(bundle: Bundle) -> None:
    """`--target docker:` beside the same inside the container, once the bundle is there."""
    if reason := engine.missing() or image.missing():
        say("docker", "not measured", reason)
        return
    with Engine() as docker:
        image.build(docker)
        with image.container(docker, "gitlab") as container:
            variables = docker.environment() | {"INVOKE_TOKENS_BUNDLE_DIRECTORY": str(bundle.path.parent)}
            os.environ.update(variables)
            outside = [str(Path(sys.executable).parent / "gitlab-tokens"), "analyze", "--target", "docker:gitlab"]
            first = timed(partial(subprocess.run, outside, check=True, capture_output=True))
            say("docker: first call", f"{first:.1f} s", "the bundle is carried there")
            folder = container.exec("sh", "-c", "echo /var/lib/gitlab-tokens-0/*").stdout.strip()
            inside = ["docker", "exec", "gitlab", f"{folder}/gitlab-tokens", "analyze"]
            medians = measure_commands("docker", {"docker exec … analyze": inside, "--target docker:gitlab": outside})
            difference = medians["--target docker:gitlab"] - medians["docker exec … analyze"]
            judge("docker: from outside costs", difference, 0.3, unit=" s", places=3)


def measure_commands(part: str, commands: dict[str, list[str]]) -> dict[str, float]:
    """The median of several runs of each command, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            seconds[name].append(timed(partial(subprocess.run, command, check=True, capture_output=True)))
    for name, values in seconds.items():
        say(
            f"{part}: {name}",
            f"{statistics.median(values):.3f} s",
            f"median of {RUNS} runs, fastest {min(values):.3f} s",
        )
    return {name: statistics.median(values) for name, values in seconds.items()}
