"""A text that nothing shows by accident."""

import copy
import faulthandler
import inspect
import io
import json
import logging
import pickle
import pprint
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens.secret import SHOWN, Secret

TEXT = "glpat-topSECRETtopSECRET12"
TOKEN = Secret(TEXT)


@dataclass(frozen=True)
class Delivery:
    account: str
    token: Secret


SHOWS: dict[str, Callable[[Secret], object]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "format with a width": lambda secret: format(secret, ">40"),
    "an f-string": lambda secret: f"{secret} {secret!r} {secret!s} {secret!a} {secret=} {secret:^20}",
    "str.format": "{0} {0!r} {0:>20}".format,
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "in a list": lambda secret: str([secret, {"token": secret}, (secret,)]),
    "pprint": pprint.pformat,
    "json as its str": lambda secret: json.dumps({"token": secret}, default=str),
    "a dataclass": lambda secret: repr(Delivery("inventory", secret)),
    "asdict": lambda secret: repr(asdict(Delivery("inventory", secret))),
    "astuple": lambda secret: repr(astuple(Delivery("inventory", secret))),
    "its attributes": lambda secret: repr(inspect.getmembers(secret)),
    "its slots": lambda secret: repr({name: getattr(secret, name) for name in type(secret).__slots__}),
    "its state": lambda secret: repr(getattr(secret, "__getstate__", str)()),
    "an exception": lambda secret: f"{ValueError(secret)} {ValueError(secret)!r}",
    "an absent key": lambda secret: repr(KeyError(secret)),
}

REFUSES: dict[str, Callable[[Secret], object]] = {
    "json": json.dumps,
    "json of a dataclass": lambda secret: json.dumps(asdict(Delivery("inventory", secret))),
    "pickle": pickle.dumps,
    "pickle of a dataclass": lambda secret: pickle.dumps(Delivery("inventory", secret)),
    "the oldest pickle": lambda secret: pickle.dumps(secret, protocol=0),
    "vars": vars,
    "bytes": bytes,  # type: ignore[dict-item]
    "joining": lambda secret: "".join([secret]),  # type: ignore[list-item]
    "adding": lambda secret: "x" + secret,  # type: ignore[operator]
    "iterating": list,  # type: ignore[dict-item]
    "its length": len,  # type: ignore[dict-item]
    "writing": lambda secret: io.StringIO().write(secret),  # type: ignore[arg-type]
    "ordering": lambda secret: secret < Secret("x"),  # type: ignore[operator]
}


@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
def test_whatever_shows_an_object_shows_nothing_of_the_text(show: Callable[[Secret], object]) -> None:
    shown = str(show(Secret(TEXT)))
    assert "SECRET" not in shown
    assert shown


@pytest.mark.parametrize("attempt", REFUSES.values(), ids=REFUSES)
def test_what_would_write_the_text_down_fails_and_shows_nothing_either(attempt: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as refusal:
        attempt(Secret(TEXT))
    assert "SECRET" not in "".join(traceback.format_exception(refusal.value))


@given(st.text())
def test_only_reveal_gives_the_text_as_it_came(text: str) -> None:
    assert Secret(text).reveal() == text
    assert repr(Secret(text)) == str(Secret(text)) == SHOWN
    assert not isinstance(Secret(text), str)


@given(st.text(st.characters()), st.text(st.characters()))
def test_two_are_equal_where_their_texts_are_and_a_hash_tells_them_not_apart(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)
    assert Secret(one) == Secret("".join(list(one)))
    assert hash(Secret(one)) == hash(Secret(other))


def test_half_a_surrogate_pair_is_compared_like_any_text() -> None:
    assert Secret("\ud800") == Secret("\ud800")
    assert Secret("\ud800") != Secret("\ud801")


def test_a_secret_equals_no_text() -> None:
    equals: object = TEXT
    assert Secret(TEXT) != equals
    assert {Secret(TEXT), Secret(TEXT)} == {Secret(TEXT)}


def test_a_copy_is_the_secret_itself() -> None:
    secret = Secret(TEXT)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
    assert asdict(Delivery("inventory", secret))["token"] is secret
    assert replace(Delivery("inventory", secret), account="other").token is secret


def test_what_is_no_text_is_refused_and_not_shown() -> None:
    wrong: Any = TEXT.encode()
    with pytest.raises(TypeError) as refusal:
        Secret(wrong)
    frames = traceback.TracebackException.from_exception(refusal.value, capture_locals=True).stack
    assert "SECRET" not in str(refusal.value)
    assert "SECRET" not in str(frames[-1].locals)


def failing(token: Secret) -> None:
    delivery = Delivery("inventory", token)
    raise RuntimeError("no route to", delivery, token)


def caught() -> RuntimeError:
    with pytest.raises(RuntimeError) as error:
        failing(TOKEN)
    return error.value


def test_a_traceback_with_local_variables_shows_nothing() -> None:
    shown = "".join(traceback.TracebackException.from_exception(caught(), capture_locals=True).format())
    assert f"token = {SHOWN}" in shown
    assert "SECRET" not in shown


if sys.version_info < (3, 13):  # which has no cgitb any more

    def test_a_traceback_as_a_web_page_shows_nothing() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import cgitb
        error = caught()
        assert error.__traceback__
        for draw in (cgitb.text, cgitb.html):
            shown = draw((type(error), error, error.__traceback__))
            assert "Delivery" in shown
            assert "SECRET" not in shown


def test_the_stacks_of_a_crash_show_nothing(tmp_path: Path) -> None:
    def crash(token: Secret) -> str:
        with (tmp_path / "stacks").open("w+") as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            return file.read()

    shown = crash(Secret(TEXT))
    assert "crash" in shown
    assert "SECRET" not in shown


def test_a_log_and_an_unhandled_exception_show_nothing(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    error = caught()
    logging.getLogger(__name__).warning(
        "made %s, %r", Secret(TEXT), Delivery("inventory", Secret(TEXT)), exc_info=error
    )
    sys.__excepthook__(type(error), error, error.__traceback__)
    shown = caplog.text + capsys.readouterr().err
    assert shown.count(SHOWN) > 2
    assert "SECRET" not in shown
