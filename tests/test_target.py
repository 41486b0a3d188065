"""Targets, as they are given in words."""

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tokens.database.libpq import parameters_of
from tokens.errors import UsageError
from tokens.targets.target import (
    DatabaseTarget,
    DemoTarget,
    DockerTarget,
    HereTarget,
    KubernetesTarget,
    OmnibusTarget,
    SourceTarget,
    Target,
    parse_target,
)


def test_a_database_is_taken_as_it_is_and_shown_without_its_secrets() -> None:
    url = "postgresql://gitlab:s3cr3t@db.example.com:5432/gitlabhq_production?sslmode=require&password=s3cr3t"
    target = parse_target(url, {})
    assert isinstance(target, DatabaseTarget)
    assert target.address.conninfo == url
    assert target.address.shown == "postgresql://gitlab@db.example.com:5432/gitlabhq_production"
    assert "s3cr3t" not in repr(target)


@pytest.mark.parametrize(
    ("url", "variables", "shown"),
    [
        ("postgresql:///g?host=/run/postgresql&port=5433", {}, "postgresql:///run/postgresql:5433/g"),
        ("postgresql://gitlab@%2Frun%2Fpostgresql/g", {}, "postgresql://gitlab@/run/postgresql/g"),
        ("postgresql://git@db1/g?host=db2&dbname=h&password=s3cr3t&user=root", {}, "postgresql://git@db2/h"),
        ("postgresql://db/g?hostaddr=192.0.2.7", {}, "postgresql://192.0.2.7/g"),
        ("postgresql://db1:1,db2:2/g", {"PGHOST": "db3"}, "postgresql://db1:1,db2:2/g"),
        ("postgresql:///g", {"PGHOST": "db3", "PGPORT": "6432", "PGDATABASE": "h"}, "postgresql://db3:6432/g"),
        ("postgresql://db1/g", {"PGHOSTADDR": "10.0.0.3"}, "postgresql://10.0.0.3/g"),
        ("postgresql://db1/g", {"PGHOSTADDR": "hunter2"}, "postgresql://db1/g"),
        ("postgresql://", {"PGHOST": "/run/%41", "PGDATABASE": "h"}, "postgresql:///run/%41/h"),
        ("postgresql:///g?service=prod", {"PGHOST": "db3"}, "postgresql:///g"),
        ("postgresql://db/g?hostaddr=s3cr3t", {}, "postgresql://db/g"),
        ("postgresql:///g?host=a%1Bb", {}, "postgresql://a%1Bb/g"),
    ],
)
def test_a_database_is_shown_with_its_server_wherever_that_is_said(
    url: str, variables: dict[str, str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    target = parse_target(url, {})
    assert isinstance(target, DatabaseTarget)
    assert target.address.shown == shown


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://u:s3?cr3t@h/x", "postgresql://u:s3#cr3t@h/x", "postgresql://h/x?password=s3cr3t"),
        *("postgresql:///x?password=s3&user=a@cr3t", "postgresql://u:s3%20cr3t@[::1]:5432,h2/x"),
    ],
)
def test_no_piece_of_a_password_is_shown(url: str) -> None:
    target = parse_target(url, {})
    assert isinstance(target, DatabaseTarget)
    assert target.has_password
    assert "s3" not in target.address.shown
    assert "cr3t" not in target.address.shown


SECRET = "s3cr3t"
SEPARATORS = (
    "",
    ":",
    "/",
    "?",
    "#",
    "@",
    "%",
    "%4",
    "%zz",
    "%00",
    " ",
    "=",
    "&",
    "[",
    "]",
    ",",
    "'",
    '"',
    "\\",
    "\x1b",
    "\n",
    "ü",
    "://",
)


@given(
    st.sampled_from(
        (
            "postgresql://",
            "postgres://",
            "postgresql:",
            "postgresql:/",
            "mysql://",
            "",
            "docker:",
            "source:",
            "kubernetes:",
        )
    ),
    st.sampled_from(("gitlab:", "gitlab", "", ":", "host=db password=", "host=db user=x password='")),
    st.lists(st.sampled_from(SEPARATORS), max_size=3),
    st.lists(st.sampled_from(SEPARATORS), max_size=3),
    st.sampled_from(
        ("@db/g", "@db:5432/g?sslmode=require", "@[::1/g", "@/g", "@", "", "@db", "@db:x/g", " host=db", "@db/g?a=b@c")
    ),
)
def test_a_secret_in_any_malformed_address_is_never_shown(
    scheme: str, user: str, before: list[str], after: list[str], place: str
) -> None:
    text = f"{scheme}{user}{''.join(before)}{SECRET}{''.join(after)}{place}"
    assume(not re.fullmatch(r"[\w.-]*", text))  # a plain word is a name, and shown
    for names, word in ({}, text), ({"prod": text}, "prod"), ({text: "demo"}, "demoo"):
        found, said = outcome(lambda names=names, word=word: parse_target(word, names))  # type: ignore[misc]
        assert SECRET not in said
        # Where the secret is no password but a user, a host or a database, it is shown as such.
        if isinstance(found, DatabaseTarget) and ":" in user:
            assert SECRET not in repr(found) + found.address.shown
            assert SECRET not in outcome(lambda found=found: parameters_of(found.address))[1]  # type: ignore[misc]


def outcome(ask: Callable[[], object]) -> tuple[object, str]:
    """What is answered, or else all that is said, with the traceback of --debug."""
    try:
        return ask(), ""
    except UsageError as refusal:
        return None, "".join(traceback.format_exception(refusal))


@pytest.mark.parametrize("url", ["postgresql:///gitlabhq_production", "postgres://h1,h2/x", "postgresql://u:p%40@h/x"])
def test_any_form_of_a_postgresql_url_is_a_database(url: str) -> None:
    assert isinstance(parse_target(url, {}), DatabaseTarget)


def test_demo_is_the_demo() -> None:
    assert parse_target("demo", {}) == DemoTarget()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", HereTarget()),
        ("omnibus", OmnibusTarget()),
        ("source", SourceTarget(None)),
        ("source:/data/gitlab", SourceTarget(Path("/data/gitlab"))),
        ("docker:", DockerTarget(None)),
        ("docker:gitlab_web-1.x", DockerTarget("gitlab_web-1.x")),
        ("kubernetes:gitlab", KubernetesTarget("gitlab")),
        ("kubernetes:gitlab/prod", KubernetesTarget("gitlab", "prod")),
        (
            "kubernetes:gitlab@arn:aws:eks:eu:1:cluster/x@y",
            KubernetesTarget("gitlab", None, "arn:aws:eks:eu:1:cluster/x@y"),
        ),
        ("kubernetes:a/b@c", KubernetesTarget("a", "b", "c")),
    ],
)
def test_a_place_is_read_from_its_words(text: str, target: Target) -> None:
    assert parse_target(text, {}) == target


def test_a_name_from_the_configuration_stands_for_its_target() -> None:
    names = {"prod": "postgresql://gitlab@db/gitlabhq_production", "play": "demo"}
    assert parse_target("play", names) == DemoTarget()
    assert parse_target("prod", names) == parse_target(names["prod"], {})


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("demoo", {}, 'did you mean "demo"?'),
        ("prd", {"prod": "demo"}, 'did you mean "prod"?'),
        ("mysql", {}, 'No target is called "mysql"'),
        ("mysql://u:s3cr3t@h/x", {}, "none that is known"),
        ("host=db password=s3cr3t", {}, "none that is known"),
        ("postgresql:gitlab:s3cr3t@db", {}, "none that is known"),
        ("gitlab:s3cr3t@db/x", {}, "none that is known"),
        ("pass word s3cr3t", {}, "none that is known"),
        ("prod", {"prod": "gitlab:s3cr3t@db/x"}, "none that is known"),
        ("demo", {"postgresql://u:s3cr3t@db": "demo"}, "choose another name"),
        ("docker:postgresql://u:s3cr3t@h/x", {}, "cannot be the name of a container"),
        ("source:postgresql://u:s3cr3t@h/x", {}, "cannot be the folder"),
        ("kubernetes:gitlab:s3cr3t@db", {}, "not of the form"),
        ("kubernetes:gitlab@postgresql://u:s3cr3t@db", {}, "not of the form"),
        ("omnibus:s3cr3t", {}, "is written omnibus."),
        ("postgresql://gitlab:%tBs3cr3t@db/g", {}, "%25"),
        ("postgresql://gitlab:a s3cr3t@db/g", {}, "%20"),
        ("postgresql://gitlab:12/s3cr3t@db/g", {}, "%2F"),
        ("postgresql://gitlab:s3cr3t/x", {}, "a port that cannot be one"),
        ("postgresql://u:s3cr3t@[/x", {}, "cannot be one"),
        ("postgresql://db/x?sslmode=s3cr3t@h", {}, "a parameter that cannot"),
        ("postgresql://db/x?port=s3cr3t", {}, "a parameter that cannot"),
        ("postgresql://db/x?s3cr3t", {}, "no parameters follow"),
        ("postgresql://u:s3cr3t@x@h/x", {}, "%40"),
        ("docker", {}, 'A target that begins with "docker" is written docker:CONTAINER.'),
        ("docker:-v", {}, "cannot be the name of a container"),
        ("docker:a b", {}, "cannot be the name of a container"),
        ("source:", {}, "is written source[:DIR]."),
        ("omnibus:x", {}, "is written omnibus."),
        ("demo:x", {}, "is written demo."),
        ("kubernetes", {}, "is written kubernetes:NAMESPACE[/RELEASE][@CONTEXT]."),
        ("k8s:gitlab/review", {}, 'did you mean "kubernetes:gitlab/review"?'),
        ("Kubernetes:gitlab", {}, 'did you mean "kubernetes:gitlab"?'),
        ("Docker:GitLab", {}, 'did you mean "docker:GitLab"?'),
        ("podman:gitlab", {}, 'did you mean "docker:gitlab" (tokens.docker names podman)?'),
        *(
            (f"kubernetes:{bad}", {}, "not of the form")
            for bad in ("", "/r", "ns/", "ns@", "NS", "-n", "ns/r/x", "@c", "n@-c")
        ),
        ("demo", {"demo": "postgresql:///x"}, "choose another name"),
        ("demo", {"docker": "demo"}, "choose another name"),
        ("demo", {"a:b": "demo"}, "choose another name"),
        ("demo", {"prod": {"host": "db"}}, "tokens.targets.prod must be a target in plain words"),
        ("a", {"a": "b", "b": "demo"}, "No target is called"),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(text: str, names: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_target(text, names)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value)
