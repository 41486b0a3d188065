"""The instance's own URL, as its gitlab.yml makes it."""

from pathlib import Path

import pytest

from tokens.targets.here.installation import OMNIBUS_RAILS, Installation, Method
from tokens.targets.here.instance_url import UnknownUrl, read_instance_url, trusted_certificates

OMNIBUS = """\
# This file is managed by gitlab-ctl.
production: &base
  gitlab:
    host: gitlab.example.com
    port: 443
    https: true
    ssh_host:
    relative_url_root: /gitlab
    max_request_duration_seconds: 57
  ldap:
    servers: {"main":{"password":"s3cr3t"}}
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def installation(rails: Path, text: str | None = None, kind: Method = Method.SOURCE) -> Installation:
    if text is not None:
        write(rails / "config/gitlab.yml", text)
    return Installation(kind, rails, None)


@pytest.mark.parametrize(
    ("gitlab", "expected"),
    [
        ("{host: a.example.com, port: 443, https: true}", "https://a.example.com"),
        ("{host: a.example.com, port: 8443, https: true}", "https://a.example.com:8443"),
        ("{host: a.example.com, port: 80, https: true}", "https://a.example.com:80"),
        ("{host: a.example.com, port: '443', https: true}", "https://a.example.com"),
        ("{host: a.example.com, port: 80, https: false}", "http://a.example.com"),
        ("{host: localhost, port: 3000}", "http://localhost:3000"),
        ("{host: a.example.com, https: true}", "https://a.example.com"),
        ("{host: a.example.com, https: true, relative_url_root: /x/y/}", "https://a.example.com/x/y"),
        ("{host: a.example.com, https: true, relative_url_root: ''}", "https://a.example.com"),
        ("{host: '2001:db8::1', https: true}", "https://[2001:db8::1]"),
        ("{host: 10.0.0.1, https: true}", "https://10.0.0.1"),
        # As Ruby takes it: all but false and nothing is true, a merge counts where it stands, a symbol may be a name.
        ("{host: a.example.com, https: ''}", "https://a.example.com"),
        ("{host: a.example.com, https: off}", "http://a.example.com"),
        ("{host: a.example.com, https: n}", "https://a.example.com"),
        ("{host: a.example.com, <<: {host: b.example.com}}", "http://b.example.com"),
        ("\n    host: a.example.com\n    port: 8,080", "http://a.example.com:8080"),
        ("\n    :host: a.example.com\n    port:\t8080", "http://a.example.com:8080"),
    ],
)
def test_a_url_is_made_of_the_parts_as_gitlab_makes_it(tmp_path: Path, gitlab: str, expected: str) -> None:
    assert read_instance_url(installation(tmp_path, f"production:\n  gitlab: {gitlab}\n")) == expected


def test_the_linux_packages_file_tells_the_url(tmp_path: Path) -> None:
    assert read_instance_url(installation(tmp_path, OMNIBUS)) == "https://gitlab.example.com/gitlab"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there"),
        ("production:\n  gitlab:\n    host: <%= `hostname -f` %> # s3cr3t\n", "contains ERB"),
        ("production: {gitlab: {host: s3cr3t}\n", "not YAML that can be read"),
        ("production: s3cr3t\n", "has no production: gitlab:"),
        ("test: {gitlab: {host: s3cr3t}}\n", "has no production: gitlab:"),
        ("", "has no production: gitlab:"),
        ("production: {gitlab: {port: 80, x: s3cr3t}}\n", "names no host"),
        ("production: {gitlab: {host: u:s3cr3t@h, https: true}}\n", "names no host"),
        ("production: {gitlab: {host: h, port: s3cr3t}}\n", "has a port that is no number"),
        ("production: {gitlab: {host: h, port: [80]}}\n", "has a port that is no number"),
        ("production: {gitlab: {host: h, relative_url_root: 's3cr3t?'}}\n", "relative_url_root that is no path"),
        ("\x00", "not YAML that can be read"),
    ],
)
def test_where_there_is_none_it_says_why_and_quotes_nothing(tmp_path: Path, text: str | None, said: str) -> None:
    found = installation(tmp_path, text)
    with pytest.raises(UnknownUrl) as fault:
        read_instance_url(found)
    assert said in str(fault.value)
    assert "s3cr3t" not in str(fault.value)
    assert "\n" not in str(fault.value)
    assert "--verify URL" in str(fault.value)


def test_the_linux_package_brings_certificates_and_an_administrator_adds_some(tmp_path: Path) -> None:
    package = Installation(Method.DOCKER, tmp_path / OMNIBUS_RAILS, "git")
    assert trusted_certificates(package) == ()
    own = tmp_path / "etc/gitlab/trusted-certs"
    names = ["b.crt", "a.pem", "README", "c.txt"]
    bundle = write(tmp_path / "opt/gitlab/embedded/ssl/certs/cacert.pem", "")
    for name in names:
        write(own / name, "")
    (own / "gone.crt").symlink_to(own / "nowhere")
    assert trusted_certificates(package) == (bundle, own / "a.pem", own / "b.crt")
    assert trusted_certificates(Installation(Method.TOOLBOX, tmp_path / OMNIBUS_RAILS, None)) == ()
