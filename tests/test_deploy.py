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
    # Without the variable the container's data would lie in the host's /config, /logs and /data.
    assert all(volume.startswith("${GITLAB_HOME:?}/") for volume in gitlab["volumes"])
    assert re.search(r"^\$ GITLAB_HOME=/\S+ docker compose ", (DEPLOY / "docker/README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("folder", ["docker", "kubernetes"])
def test_a_page_whose_image_takes_every_bundle_of_a_folder_wants_an_empty_one(folder: str) -> None:
    assert "in an empty folder" in (DEPLOY / folder / "README.md").read_text()


def test_the_packages_page_removes_what_was_set_up() -> None:
    removal = (DEPLOY / "omnibus/README.md").read_text().partition("## Remove it")[2]
    service = (DEPLOY / "monitoring/gitlab-tokens-check.service").read_text()
    (numbers,) = re.findall(r"--file (\S+)", service)
    for name in (
        "gitlab-tokens journal.uninstall",
        "gitlab-tokens-check.timer",
        "gitlab-tokens-check.service",
        numbers,
    ):
        assert name in removal
    # `install` alone is the program of coreutils.
    texts = [path.read_text() for path in DEPLOY.rglob("*.md")]
    assert {found for text in texts for found in re.findall(r"(\S*)install --uninstall", text)} == {"deploy/omnibus/"}


def test_the_packages_node_exporter_is_pointed_to_the_services_folder() -> None:
    service = (DEPLOY / "monitoring/gitlab-tokens-check.service").read_text()
    (folder,) = re.findall(r"^StateDirectory=(\S+)", service, re.MULTILINE)
    page = (DEPLOY / "monitoring/README.md").read_text()
    assert f"node_exporter['flags'] = {{ 'collector.textfile.directory' => '/var/lib/{folder}' }}" in page


def test_every_kind_of_installation_has_its_page() -> None:
    index = (DEPLOY / "README.md").read_text()
    for folder in ("omnibus", "kubernetes", "docker", "source"):
        assert f"({folder}/README.md)" in index
        assert (DEPLOY / folder / "README.md").exists()


def test_versions_in_the_examples_are_this_one() -> None:
    texts = [path.read_text() for path in (README, *DEPLOY.rglob("*")) if path.is_file()]
    versions = {found for text in texts for found in re.findall(r"gitlab-tokens[-:](\d+\.\d+\.\d+)", text)}
    assert versions == {__version__}
