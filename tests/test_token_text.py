"""What the text of a token tells, and where in other text one is found."""

import base64
import random
import string

import pytest

from tokens.errors import may_be_token, shortened
from tokens.gitlab.plaintext import Payload, legacy_token, routable_token
from tokens.gitlab.token_text import TEXT_KINDS, Finder, TextKind, is_damaged, kind_of, user_of_feed
from tokens.secret import Secret

LEGACY = "glpat-AbCdEfGh1234567890_-"
ROUTABLE = routable_token("glpat-", Payload(1, 42)).reveal()
CUSTOM = routable_token("acme-glpat-", Payload(1, 42)).reveal()
WRONG = ROUTABLE[:-1] + ("a" if ROUTABLE[-1] != "a" else "b")
BARE = "AbCdEfGh1234567890_-"

BODIES = {
    "glagent-": "A" * 50,
    "glptt-": "0123456789abcdef" * 2 + "01234567",
    "gloas-": "0123456789abcdef" * 4,
    "glimt-": "abcdefghij0123456789xyzab",
    "glrt-": "t1_AbCdEfGh1234567890_-",
}


def found(text: str | bytes, *prefixes: str) -> list[tuple[int, list[str], str | None, bool]]:
    whole = text.encode() if isinstance(text, str) else text
    return [
        (one.position, [secret.reveal() for secret in one.texts], one.kind.name if one.kind else None, one.sure)
        for one in Finder(prefixes).find(whole)
    ]


@pytest.mark.parametrize("kind", TEXT_KINDS, ids=lambda kind: kind.prefix)
def test_every_kind_is_known_by_its_prefix_and_found_by_its_shape(kind: TextKind) -> None:
    token = kind.prefix + BODIES.get(kind.prefix, BARE)
    assert kind_of(Secret(token)) == kind
    assert kind_of(Secret(f"acme-{token}")) == kind
    assert found(f"export TOKEN='{token}'; curl") == [(14, [token], kind.name, True)]
    assert may_be_token(token)
    assert BODIES.get(kind.prefix, BARE) not in shortened(f'There is no "{token}".')


def test_both_forms_of_an_access_token_are_found_wherever_they_stand() -> None:
    for token in (LEGACY, ROUTABLE):
        for before, after in (
            ("", ""),
            ("https://oauth2:", "@gitlab.example.com/a.git"),
            ('{"t":"', '"}'),
            ("é ", "\n"),
        ):
            text = f"{before}{token}{after}"
            assert found(text) == [(len(before.encode()), [token], "access-token", True)]
    assert found(f"It was {ROUTABLE}. And {LEGACY}.") == [
        (7, [ROUTABLE], "access-token", True),
        (12 + len(ROUTABLE) + 1, [LEGACY], "access-token", True),
    ]


def test_a_wrong_checksum_makes_it_none_and_its_place_is_known() -> None:
    finder = Finder()
    assert [(one.position, one.texts) for one in finder.find(b" " + WRONG.encode())] == [(1, ())]
    assert [one.sure for one in finder.find(ROUTABLE[:-3].encode())] == [False]  # its end was cut off
    assert is_damaged(Secret(WRONG))
    assert not is_damaged(Secret(ROUTABLE))
    assert not is_damaged(Secret(LEGACY))


def test_an_instances_own_prefix_is_found_before_gitlabs_and_in_its_place() -> None:
    assert found(f"x={CUSTOM}") == [(7, [CUSTOM], "access-token", True)]
    # Of the older form nobody can see whether the word before it belongs to it.
    assert found(f"my-{LEGACY}") == [(3, [f"my-{LEGACY}", LEGACY], "access-token", True)]
    for prefix in ("acme_", "acme.pat:", "x"):
        assert found(f"t {prefix}{BARE}", prefix)[0] == (2, [prefix + BARE], "access-token", True)
        assert kind_of(Secret(prefix + BARE), [prefix]) is TEXT_KINDS[0]
        assert kind_of(Secret(prefix + BARE)) is None


def test_what_follows_a_token_of_the_older_form_makes_it_unsure() -> None:
    assert found(f"{LEGACY}-backup") == [(0, [LEGACY], "access-token", False)]


def test_twenty_random_characters_may_be_an_old_token_and_words_and_numbers_are_none() -> None:
    assert found(f"PRIVATE-TOKEN: {BARE}") == [(15, [BARE], None, False)]
    for text in ("a" * 20, "0123456789abcdef0123", "SOME_CONSTANT_OF_OLD", BARE + "x", BARE[:-1], f"-{BARE}"):
        assert found(text) == []


def test_placeholders_of_documentation_are_no_tokens() -> None:
    for text in ("glpat-xxxx", "glpat-<your token>", "glpat-...", "$glpat-TOKEN", "gldt-", "glrt-REDACTED"):
        assert found(text) == []


def test_a_feed_token_names_its_user() -> None:
    assert user_of_feed(Secret("glft-" + "0" * 64 + "-4711")) == 4711
    assert user_of_feed(Secret("glft-" + BARE)) is None


def test_whatever_gitlab_makes_is_found_in_noise() -> None:
    chosen = random.Random(1)
    noise = string.ascii_letters + string.digits + " \n\t.,:;/+=\"'{}()"
    for number in range(200):
        token = (
            legacy_token("glpat-", random=chosen.randbytes)
            if number % 2
            else routable_token("glpat-", Payload(1, number), random=chosen.randbytes)
        ).reveal()
        before = "".join(chosen.choices(noise, k=chosen.randrange(200))) + " "
        after = " " + base64.b64encode(chosen.randbytes(60)).decode()
        sure = [one for one in found(before + token + after) if one[3]]
        assert sure == [(len(before), [token], "access-token", True)]
