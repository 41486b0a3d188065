"""What GitLab stores of a token instead of the token."""

import base64
import hashlib
import json
import traceback

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tokens.errors import ExitStatus, UsageError
from tokens.gitlab.digest import Keys, digest
from tokens.secret import Secret

OLD, NEWER, CURRENT = "0a" * 64, "1b" * 64, "2c" * 64
TOKEN = Secret("glpat-" + 20 * "A")


@pytest.mark.parametrize(
    ("token", "key", "stored"),
    [
        (
            "glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.01.0w082kcij",
            "0" * 32,
            "plxoHHSbo33LfTdqxlumiQU7E6mom6GhCGyX8Kvl0E0=",
        ),
        ("glpat-" + 20 * "A", 2 * "0123456789abcdef", "esnHb81e/dZ57KgFHjzPm3Ug7BRDcHMeI5eqe3z1vGA="),
    ],
)
def test_known_tokens_have_their_known_digests_and_only_the_beginning_of_the_key_counts(
    token: str, key: str, stored: str
) -> None:
    assert digest(Secret(token), Secret(key)) == stored
    assert digest(Secret(token), Secret(key + "what follows")) == stored
    assert digest(Secret(token), Secret(key[:-1] + "x")) != stored


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_characters_of_the_key_are_counted_not_bytes(token: str, key: str) -> None:
    salted = token.encode() + key[:32].encode()
    assert digest(Secret(token), Secret(key)) == base64.b64encode(hashlib.sha256(salted).digest()).decode()


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_has_a_digest_of_44_characters(token: str, key: str) -> None:
    assert len(digest(Secret(token), Secret(key))) == 44


def test_one_key_is_the_current_one_however_it_is_written() -> None:
    for keys in (Keys.of(CURRENT), Keys.of([CURRENT]), Keys.of(yaml.safe_load(f"- {CURRENT}"))):
        assert keys == Keys((Secret(CURRENT),))
        assert keys.current == Secret(CURRENT)
        assert keys.digests(TOKEN) == (keys.digest_with_current(TOKEN),) == (digest(TOKEN, Secret(CURRENT)),)


def test_the_last_of_several_keys_is_current_and_a_token_is_looked_for_under_all() -> None:
    keys = Keys.of([OLD, NEWER, CURRENT])
    assert keys.current.reveal() == CURRENT
    assert keys.digest_with_current(TOKEN) == digest(TOKEN, Secret(CURRENT))
    assert keys.digests(TOKEN) == tuple(digest(TOKEN, Secret(key)) for key in (CURRENT, NEWER, OLD))


def test_keys_that_begin_alike_are_looked_for_once() -> None:
    keys = Keys.of([CURRENT, OLD, CURRENT[:32]])
    assert keys.digests(TOKEN) == (digest(TOKEN, Secret(CURRENT)), digest(TOKEN, Secret(OLD)))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " \n",
        [],
        {},
        True,
        4711471147114711,
        b"SECRETSECRETSECRET",
        {"key": "SECRETSECRETSECRET"},
        ["SECRETSECRETSECRET", ""],
        ["SECRETSECRETSECRET", None],
        ["SECRETSECRETSECRET", 4711471147114711],
        [["SECRETSECRETSECRET"]],
        ("SECRETSECRETSECRET",),
        "<%= ENV['SECRETSECRET'] %>",
        ["SECRETSECRETSECRET", "<%= ENV['SECRETSECRET'] %>"],
    ],
)
def test_what_is_no_key_is_refused_in_one_line_that_shows_nothing_of_it(value: object) -> None:
    with pytest.raises(UsageError) as refusal:
        Keys.of(value)
    message = str(refusal.value)
    last = traceback.TracebackException.from_exception(refusal.value, capture_locals=True).stack[-1]
    assert message.startswith("db_key_base ")
    assert "\n" not in message
    assert refusal.value.status is ExitStatus.USAGE
    for shown in (message, str(last.locals)):
        assert "SECRET" not in shown
        assert "4711" not in shown


def test_no_keys_at_all_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="an instance has a key"):
        Keys(())


def test_keys_show_nothing_of_themselves() -> None:
    keys = Keys.of([OLD, CURRENT])
    assert repr(keys) == "Keys(values=(Secret(…), Secret(…)))"
    assert OLD[:4] not in json.dumps(keys.__dict__, default=str)
