"""What deploy/ hands out can be read, and names the same things everywhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.testbed.pages import README
from tokens.targets.there.scripts import INSTALLED
from tokens.version import __version__

DEPLOY = Path(__file__).parent.parent / "deploy"


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def test_the_charts_values_put_the_tool_where_it_is_looked_for() -> None:
    toolbox = read("kubernetes/values.yaml")["gitlab"]["toolbox"]
    # The chart takes these as text, in which it fills in its own templates.
    (copies,) = yaml.safe_load(toolbox["extraInitContainers"])
    (volume,) = yaml.safe_load(toolbox["extraVolumes"])
    (mount,) = yaml.safe_load(toolbox["extraVolumeMounts"])
    assert mount == {"name": volume["name"], "mountPath": INSTALLED}
    assert copies["volumeMounts"] == [{"name": volume["name"], "mountPath": "/target"}]
    assert copies["command"] == ["cp", "-R", f"{INSTALLED}/.", "/target/"]


def test_the_pod_of_its_own_reaches_the_database_with_gitlabs_secret() -> None:
    pod = read("kubernetes/pod.yaml")
    (container,) = pod["spec"]["containers"]
    variables = {one["name"]: one for one in container["env"]}
    assert variables["INVOKE_TOKENS_TARGET"]["value"].startswith("postgresql://gitlab@")
    assert set(variables["PGPASSWORD"]["valueFrom"]) == {"secretKeyRef"}
    assert pod["spec"]["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("folder", ["docker", "kubernetes"])
def test_images_hold_the_tool_where_it_is_looked_for(folder: str) -> None:
    text = (DEPLOY / folder / "Dockerfile").read_text()
    assert f"ADD gitlab-tokens-*.tar.gz {INSTALLED}/\n" in text
    assert f'ENV PATH="${{PATH}}:{INSTALLED}"\n' in text


def test_compose_builds_the_image_beside_it() -> None:
    gitlab = read("docker/compose.yaml")["services"]["gitlab"]
    assert gitlab["build"]["context"] == "."
    assert set(gitlab["build"]["args"]) == {"GITLAB"}


def test_every_kind_of_installation_has_its_page() -> None:
    index = (DEPLOY / "README.md").read_text()
    for folder in ("omnibus", "kubernetes", "docker", "source"):
        assert f"({folder}/README.md)" in index
        assert (DEPLOY / folder / "README.md").exists()


def test_versions_in_the_examples_are_this_one() -> None:
    texts = [path.read_text() for path in (README, *DEPLOY.rglob("*")) if path.is_file()]
    versions = {found for text in texts for found in re.findall(r"gitlab-tokens[-:](\d+\.\d+\.\d+)", text)}
    assert versions == {__version__}
