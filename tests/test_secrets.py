"""Where db_key_base is found, in all the shapes that installations give it; what cannot be read is never quoted."""

import ctypes
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tokens.errors import Refused, UsageError
from tokens.gitlab.digest import Keys
from tokens.targets.here.installation import OMNIBUS_RAILS, TOOLBOX_RAILS, Installation, Method
from tokens.targets.here.secrets import read_keys, read_keys_file

KEY = "a1b2c3d4" * 16
OLD = "0badcafe" * 16
HIDDEN = "s3cr3t"
NOBODY = 65534
PR_SET_DUMPABLE = 4
SECRETS = {
    "production": {
        "db_key_base": KEY,
        "secret_key_base": "5ec4e7",
        "openid_connect_signing_key": "-----BEGIN RSA PRIVATE KEY-----\nabc\n",
        "active_record_encryption_primary_key": ["x"],
    }
}


def texts(keys: Keys) -> list[str]:
    return [key.reveal() for key in keys.values]


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def package(root: Path, kind: Method = Method.OMNIBUS) -> Installation:
    return Installation(kind, root / OMNIBUS_RAILS, "git")


@pytest.mark.parametrize(("value", "expected"), [(KEY, [KEY]), ([KEY], [KEY]), ([OLD, KEY], [OLD, KEY])])
def test_a_key_is_a_text_or_a_list_whose_last_one_is_current(
    tmp_path: Path, value: object, expected: list[str]
) -> None:
    content = {"production": {**SECRETS["production"], "db_key_base": value}}
    keys = read_keys_file(write(tmp_path / "secrets.yml", yaml.safe_dump(content)))
    assert texts(keys) == expected
    assert keys.current.reveal() == KEY
    assert texts(read_keys_file(write(tmp_path / "secrets.json", {"gitlab_rails": {"db_key_base": value}}))) == expected


def test_each_kind_of_installation_has_its_secrets_where_its_application_looks(tmp_path: Path) -> None:
    real = write(tmp_path / "var/opt/gitlab/gitlab-rails/etc/secrets.yml", yaml.safe_dump(SECRETS))
    rails = tmp_path / OMNIBUS_RAILS
    (rails / "config").mkdir(parents=True)
    (rails / "config/secrets.yml").symlink_to(real)
    # A key in gitlab.rb goes before the one in gitlab-secrets.json, and only the rendered file shows it.
    write(tmp_path / "etc/gitlab/gitlab-secrets.json", {"gitlab_rails": {"db_key_base": OLD}})
    for kind in (Method.OMNIBUS, Method.DOCKER):
        assert texts(read_keys(package(tmp_path, kind))) == [KEY]
    for kind, folder in ((Method.SOURCE, "home/git/gitlab"), (Method.TOOLBOX, TOOLBOX_RAILS)):
        write(tmp_path / folder / "config/secrets.yml", yaml.safe_dump(SECRETS))
        assert texts(read_keys(Installation(kind, tmp_path / folder, None))) == [KEY]


def test_the_linux_packages_own_file_is_taken_where_nothing_was_rendered(tmp_path: Path) -> None:
    file = write(tmp_path / "etc/gitlab/gitlab-secrets.json", {"gitlab_rails": {"db_key_base": KEY}})
    assert texts(read_keys(package(tmp_path))) == [KEY]
    write(file, {"gitlab_ci": {"db_key_base": KEY}, "gitlab_rails": {"secret_key_base": "x"}})
    assert texts(read_keys(package(tmp_path))) == [KEY]
    write(file, json.dumps({"gitlab_rails": {"db_key_base": KEY}}, indent="\t"))  # a tab is no YAML
    assert texts(read_keys(package(tmp_path))) == [KEY]


def test_what_all_environments_share_counts_where_production_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    assert texts(read_keys_file(write(path, f"shared: {{db_key_base: {OLD}}}\nproduction: {{x: y}}\n"))) == [OLD]
    text = f"shared: &s {{db_key_base: {OLD}}}\nproduction:\n  <<: *s\n  db_key_base: {KEY}\n"
    assert texts(read_keys_file(write(path, text))) == [KEY]


@pytest.mark.parametrize(
    "text",
    [
        f"shared: &s {{db_key_base: {KEY}}}\nproduction:\n  db_key_base: {OLD}\n  <<: *s\n",
        f"production:\n  :db_key_base: {KEY}\n",
        f"production:\n  db_key_base:\t{KEY}\t# note\n---\n",
        f'{{\n\t"production": {{\n\t\t"db_key_base": "{KEY}"\n\t}}\n}}\n',
        f"{{production: {{db_key_base: {KEY}}}}}\r\n",
    ],
)
def test_secrets_are_read_as_ruby_reads_them(tmp_path: Path, text: str) -> None:
    assert texts(read_keys_file(write(tmp_path / "secrets.yml", text))) == [KEY]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("production: {db_key_base: <%= ENV['S3CR3T'] %>}\n", "contains ERB"),
        ("production:\n  db_key_base: 's3cr3t\n", "not YAML that can be read (line"),
        ("production: {db_key_base: s3cr3t}}\n", "not YAML that can be read (line 1)"),
        ("production: !ruby/object:S3cr3t {}\n", "not YAML that can be read"),
        ('{"gitlab_rails": {"db_key_base": "s3cr3t"', "not JSON that can be read (line 1)"),
        ("[" * 5000 + "s3cr3t", "not YAML that can be read"),
        ("- s3cr3t\n", "not a YAML map"),
        ("", "not a YAML map"),
        ("s3cr3t", "not a YAML map"),
        ("development: {db_key_base: s3cr3t}\n", "has no db_key_base"),
        ("production: {secret_key_base: s3cr3t}\n", "has no db_key_base"),
        ("production: s3cr3t\n", "has no db_key_base"),
        ("shared: {db_key_base: s3cr3t}\nproduction: {db_key_base: }\n", "has no db_key_base"),
        ("production:\n  db_key_base: :s3cr3t\n", "cannot be used"),
        ("production:\n  db_key_base: 2024-01-05 10:00:00\n", "has a time without quotes"),
        ("production: {db_key_base: }\n", "has no db_key_base"),
        ("production: {db_key_base: {s3cr3t: s3cr3t}}\n", "cannot be used"),
        ("production: {db_key_base: [s3cr3t, 5]}\n", "cannot be used"),
        (
            '{"gitlab_rails": {"secret_key_base": "s3cr3t"}, "production": {"db_key_base": "s3cr3t"}}',
            "has no db_key_base",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_that_quotes_nothing(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "secrets.yml", text)
    with pytest.raises(UsageError) as refusal:
        read_keys_file(path)
    assert said in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert HIDDEN not in everything_about(refusal.value)


def everything_about(error: BaseException) -> str:
    """What the most talkative traceback tells: the variables of every frame, also of errors that it came from."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(shown.format())
    while error.__context__:
        error = error.__context__
        text += "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    # This test's own frame has the text.
    return "".join(line for line in text.splitlines() if not line.strip().startswith("text = ")).lower()


def test_a_file_that_is_no_text_or_none_at_all_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfes3cr3t")
    for path, said in ((tmp_path / "binary", "is not text"), (tmp_path / "none", "is not there"), (tmp_path, "error")):
        with pytest.raises(UsageError, match=said) as refusal:
            read_keys_file(path)
        assert HIDDEN not in str(refusal.value)
    with pytest.raises(UsageError, match=r"secrets\.yml is not there and .*gitlab-secrets\.json is not there"):
        read_keys(package(tmp_path))


def test_a_file_that_another_user_may_read_is_refused_with_whom_to_be(folder: Path) -> None:
    closed = write(folder / "etc/gitlab/gitlab-secrets.json", {"gitlab_rails": {"db_key_base": HIDDEN}})
    closed.chmod(0o600)
    with nobody(), pytest.raises(Refused) as refusal:
        read_keys(package(folder))
    assert "secrets.yml is not there and" in str(refusal.value)
    assert "gitlab-secrets.json may not be read by nobody" in str(refusal.value)
    assert f"run this as root with --secrets-file {closed}" in str(refusal.value)
    with nobody(), pytest.raises(Refused, match="may not be read by nobody"):
        read_keys_file(closed)
    # Root's file matters to nobody where GitLab's own is there.
    write(folder / OMNIBUS_RAILS / "config/secrets.yml", yaml.safe_dump(SECRETS))
    with nobody():
        assert texts(read_keys(package(folder))) == [KEY]


@contextmanager
def nobody() -> Iterator[None]:
    """As an account that owns nothing, for the length of a block."""
    if os.geteuid() != 0:
        pytest.skip("becoming another account needs root")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # which becoming another account takes away
