"""GitLab's files as its Ruby reads them: thousands of made files, read by both and compared."""

import datetime
import re
from collections import Counter
from typing import Any

import pytest

from tests.testbed.ruby import Ruby
from tests.testbed.yaml_author import SCALARS, Author
from tokens.errors import UsageError
from tokens.targets.here import ruby_yaml
from tokens.targets.here.database_url import read_url
from tokens.targets.here.ruby_yaml import OtherKey, Symbol, Unreadable, read_yaml, ruby_text

FILES = 2000  # of each kind
TEXTS = 1500
SEED = 20261127


def told(value: object) -> list[Any]:
    """A value in the form that the script in Ruby tells it."""
    match value:
        case None:
            return ["nil"]
        case bool():
            return ["boolean", value]
        case int():
            return ["integer", str(value)]
        case float():
            return ["float", ruby_text(value)]
        case Symbol():
            return ["symbol", value.name]
        case datetime.date():
            return ["date", value.isoformat()]
        case str():
            return ["text", value]
        case OtherKey():
            names = {bool: "boolean", int: "integer", float: "float", datetime.date: "date"}
            if value.type is type(None):
                return ["nil"]
            return [names[value.type], value.text == "true" if value.type is bool else value.text]
        case list():
            return ["list", [told(item) for item in value]]
        case dict():
            return ["map", [[told(key), told(item)] for key, item in value.items()]]
    raise AssertionError(f"{type(value)} comes from nowhere")


def ours(text: str, how: str) -> list[Any]:
    try:
        return told(read_yaml(text, plain=how == "safe"))
    except Unreadable as error:
        return ["error", re.sub(r" \(line \d+\)$", "", str(error))]


# What only Ruby reads, and we refuse in one line.
REFUSED = {
    "is not YAML that can be read without Ruby",
    "has a time without quotes, which Ruby reads by its time zone: put it in quotes",
    "has a date without quotes, which GitLab does not take: put it in quotes",
    "has a list or a map for a key",
    "has an alias inside of what it stands for",
    "has a number without digits, which Ruby's releases read differently",
    "has a float that is none",
    "has bytes that are not text",
    "begins with a byte order mark, which GitLab's releases read differently: save it without one",
}


def compare(texts: list[tuple[str, str]], ruby: Ruby) -> tuple[int, Counter[str]]:
    """How many were read to the same, and how often we refused what Ruby read; a difference fails."""
    same, refused, differences = 0, Counter[str](), []
    for (text, how), theirs in zip(texts, ruby(texts), strict=True):
        found = ours(text, how)
        if found[0] == "error":
            refused.update([found[1]] if theirs[0] != "error" else ())
        elif found == theirs:
            same += 1
        else:
            differences.append((text, how, found, theirs))
    shown = "\n".join(
        f"{how}: {text!r}\n  ours   {found}\n  Ruby's {theirs}" for text, how, found, theirs in differences
    )
    assert not differences, f"{len(differences)} differences:\n{shown}"
    return same, refused


@pytest.mark.slow
def test_made_files_are_read_as_ruby_reads_them_or_refused(ruby: Ruby) -> None:
    author = Author(SEED)
    texts = [(author.file(), "unsafe") for _ in range(FILES)] + [(author.printed(), "safe") for _ in range(FILES)]
    same, refused = compare(texts, ruby)
    print(f"{len(texts)} files, {same} read to the same, refused though Ruby reads them: {dict(refused)}")
    assert same > len(texts) / 3
    assert set(refused) <= REFUSED
    assert refused.total() < len(texts) / 8


def test_plain_texts_are_what_ruby_takes_them_for(ruby: Ruby) -> None:
    author = Author(SEED + 1)
    scalars = [*SCALARS, *(author.scalar() for _ in range(TEXTS))]
    texts = [(f"- {scalar}", how) for scalar in scalars for how in ("unsafe", "safe")]
    same, refused = compare(texts, ruby)
    print(f"{len(texts)} scalars, {same} read to the same, refused though Ruby reads them: {dict(refused)}")
    assert set(refused) <= REFUSED
    assert refused.total() < len(texts) / 50


@pytest.mark.slow
def test_a_databases_url_is_taken_apart_as_rails_does_it_or_refused(ruby: Ruby) -> None:
    author = Author(SEED + 2)
    texts = [(author.url(), "url") for _ in range(TEXTS)]
    same, refused, differences = 0, [], []
    for (text, _), theirs in zip(texts, ruby(texts), strict=True):
        expected = {key[1]: value[1] for key, value in theirs[1]} if theirs[0] == "map" else None
        try:
            found = read_url(text)
        except UsageError:
            refused += [text] if expected is not None else []
            continue
        same += found == expected
        differences += [] if found == expected else [(text, found, theirs)]
    print(f"{len(texts)} URLs, {same} read to the same, {len(refused)} refused though Ruby reads them")
    assert differences == []
    assert same > len(texts) / 3
    # An @ that should have been written as %40, and what is no UTF-8.
    assert [text for text in refused if "@" not in text and "%ff" not in text.lower()] == []


def test_without_libyaml_nothing_is_read_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruby_yaml, "CParser", None)
    with pytest.raises(Unreadable, match="this PyYAML has no libyaml: pip install"):
        read_yaml("a: b")


@pytest.mark.parametrize(
    "text",
    ["&a [*a]", "a: &a {b: *a}", "? [a]\n: b", "a: !ruby/object:S3cr3t {s3cr3t: 1}", "a: 0x_", "- !!float s3cr3t"],
)
def test_what_only_ruby_reads_is_one_line_that_quotes_nothing(text: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        read_yaml(text)
    assert "(line 1)" in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value).lower()
    assert "\n" not in str(refusal.value)


def test_rubys_text_of_a_float_is_not_pythons() -> None:
    texts = ["1.0e+16", "1.0e-5", "1.5e+300", "0.1", ".inf", "-.inf", ".nan", "1e5"]
    expected = ["1.0e+16", "1.0e-05", "1.5e+300", "0.1", "Infinity", "-Infinity", "NaN", "1e5"]
    assert [ruby_text(read_yaml(text)) for text in texts] == expected
