"""A token in clear: its prefix and the two forms."""

import base64
import json
import string
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_settings
from tests.testbed.routable_token import decode
from tokens import database
from tokens.address import Address
from tokens.gitlab.plaintext import (
    BASE36,
    FIELDS,
    Form,
    Payload,
    base36,
    form_for,
    legacy_token,
    new_token,
    read_prefix,
    routable_token,
)
from tokens.gitlab.schema import SETTINGS, TOKENS, Schema, read_schema

# GitLab's own example, a runner's token.
OFFICIAL = "glrtr-W5m1cHR6skC98Bx7XkuYjmM6MQpnOjgKbzpyegp0OjIQ.01.181uebm4k"
OFFICIAL_PAYLOAD = Payload(organization_id=1007, cell_id=1, group_id=8, runner_type=2)
OFFICIAL_RANDOM = base64.urlsafe_b64decode("W5m1cHR6skC98Bx7XkuYjmM6MQpnOjgKbzpyegp0OjIQ")[:16]

EXAMPLE = "glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.01.0w082kcij"

URL_SAFE = string.ascii_letters + string.digits + "-_"
BIGINT = 2**63 - 1

prefixes = st.text(string.ascii_letters + string.digits + "_+=/@:.-", max_size=40)
ids = st.integers(0, BIGINT)
payloads = st.builds(Payload, ids, *[st.none() | ids] * 5)
blocks = st.binary(min_size=16, max_size=16)


def giving(content: bytes) -> Callable[[int], bytes]:
    """Randomness that is `content` each time, and must be asked for by its length."""

    def give(length: int) -> bytes:
        assert length == len(content)
        return content

    return give


def signed(body: str) -> str:
    """A token with the right checksum, whatever stands in it."""
    checksum, digits = zlib.crc32(body.encode()), ""
    for _ in range(7):
        checksum, digit = divmod(checksum, 36)
        digits = (string.digits + string.ascii_lowercase)[digit] + digits
    return body + digits


def written(content: bytes) -> str:
    """A token around these bytes, random ones and length byte included, however wrong they are."""
    encoded = base64.urlsafe_b64encode(content).decode().rstrip("=")
    return signed(f"glpat-{encoded}.01.{base36(len(encoded), 2)}")


def test_known_tokens_are_made_to_the_letter() -> None:
    assert routable_token("glrtr-", OFFICIAL_PAYLOAD, random=giving(OFFICIAL_RANDOM)).reveal() == OFFICIAL
    assert routable_token("glpat-", Payload(1, 1), random=giving(16 * b"a")).reveal() == EXAMPLE


def test_known_tokens_are_read() -> None:
    assert decode(OFFICIAL) == OFFICIAL_PAYLOAD
    assert decode(EXAMPLE) == Payload(organization_id=1, user_id=1)


@pytest.mark.parametrize(
    "text",
    [
        OFFICIAL[:-1] + "l",
        signed("glrtr-8CLoDbhWwqW3qiRbgpHYEwA.01.0n"),
        signed("glrtr-igz7z_MRijGFhUQwq0FCzWEKeAoxCjIH.01.0w"),
        "",
        "glpat-" + 20 * "A",
        signed("glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.0w"),
        signed("glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.02.0w"),
        signed("glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.01.zz"),
        signed("glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.01.00"),
        signed("glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.01.0x"),
        signed("glpat-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjE.01.01"),
        signed("glpät-YWFhYWFhYWFhYWFhYWFhYW86MQp1OjEH.01.0w"),
        "\ud800" + EXAMPLE,
        EXAMPLE + "\n",
        " " + EXAMPLE,
        EXAMPLE.upper(),
        written(16 * b"a" + b"o:1" + b"\x04"),
        written(16 * b"a" + b"u:1" + b"\x03"),
        written(16 * b"a" + b"o:1\no:2" + b"\x07"),
        written(16 * b"a" + b"o:1\n" + b"\x04"),
        written(16 * b"a" + b"o:1\nx:2" + b"\x07"),
        written(16 * b"a" + b"o:-1" + b"\x04"),
        written(16 * b"a" + b"o:\xe9" + b"\x03"),
    ],
)
def test_anything_else_is_not_read(text: str) -> None:
    assert decode(text) is None


@given(prefixes, payloads, blocks)
def test_what_is_made_can_be_read(prefix: str, payload: Payload, block: bytes) -> None:
    token = routable_token(prefix, payload, random=giving(block)).reveal()
    assert decode(token) == payload
    encoded = token.removeprefix(prefix).split(".")[0]
    assert token == signed(f"{prefix}{encoded}.01.{base36(len(encoded), 2)}")
    assert base64.urlsafe_b64decode(encoded + "==")[:16] == block


@given(payloads, blocks, st.data())
def test_one_changed_character_is_noticed_wherever_it_is(payload: Payload, block: bytes, data: st.DataObject) -> None:
    token = routable_token("glpat-", payload, random=giving(block)).reveal()
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[place]))
    assert decode(token[:place] + other + token[place + 1 :]) is None


@given(payloads, blocks, st.data())
def test_a_lost_and_a_doubled_character_are_noticed(payload: Payload, block: bytes, data: st.DataObject) -> None:
    token = routable_token("glpat-", payload, random=giving(block)).reveal()
    place = data.draw(st.integers(0, len(token) - 1))
    assert decode(token[:place] + token[place + 1 :]) is None
    assert decode(token[:place] + token[place] + token[place:]) is None


@given(st.text() | st.text(URL_SAFE + ".").map(signed) | st.binary().map(written))
def test_no_text_breaks_the_reading(text: str) -> None:
    decode(text)


def test_a_payload_is_written_in_the_order_of_its_letters_and_without_what_is_not_there() -> None:
    assert Payload(1, 35, 36, 37, 1296, 3).text == "c:10\ng:11\no:1\np:100\nt:3\nu:z"
    assert Payload(organization_id=0, user_id=0).text == "o:0\nu:0"
    assert list(FIELDS) == sorted(FIELDS)


def test_a_payload_fits_up_to_159_characters() -> None:
    def payload(length: int) -> Payload:
        return Payload(36 ** (length - 2) - 1)

    assert len(payload(159).text) == 159
    token = routable_token("glpat-", payload(159), random=giving(16 * b"\xff"))
    assert decode(token.reveal()) == payload(159)
    with pytest.raises(ValueError, match="160 characters, where GitLab allows 159"):
        routable_token("glpat-", payload(160))


def test_the_largest_ids_fit() -> None:
    token = routable_token("glpat-", Payload(*[BIGINT] * 6)).reveal()
    assert decode(token) == Payload(*[BIGINT] * 6)


def test_ids_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 is below 0"):
        routable_token("glpat-", Payload(1, -1))


@given(ids, st.integers(0, 20))
def test_numbers_in_base_36_are_read_back(number: int, width: int) -> None:
    written = base36(number, width)
    assert int(written, 36) == number
    assert set(written) <= set(BASE36)
    assert len(written) >= width
    assert written == "0" or len(written) == width or not written.startswith("0")


def test_the_older_form_is_20_characters_without_those_that_look_alike() -> None:
    looks_alike = base64.urlsafe_b64decode("lIO0" + 16 * "A")
    assert legacy_token("glpat-", random=giving(looks_alike)).reveal() == "glpat-sxyz" + 16 * "A"
    assert legacy_token("", random=giving(15 * b"\xff")).reveal() == 20 * "_"


@given(prefixes, st.binary(min_size=15, max_size=15))
def test_the_older_form_is_url_safe_behind_the_prefix(prefix: str, block: bytes) -> None:
    token = legacy_token(prefix, random=giving(block)).reveal()
    assert token.startswith(prefix)
    assert len(token) == len(prefix) + 20
    assert set(token.removeprefix(prefix)) <= set(URL_SAFE) - set("lIO0")
    assert decode(token) is None


def test_no_two_tokens_are_the_same() -> None:
    for form in Form:
        tokens = {new_token(form, "glpat-", Payload(1, 1)).reveal() for _ in range(1000)}
        assert len(tokens) == 1000
        assert {decode(token) for token in tokens} == {Payload(1, 1) if form is Form.ROUTABLE else None}


def test_the_form_changed_with_the_column_of_gitlab_18_3() -> None:
    columns = frozenset({"id", "organization_id"})
    assert form_for(Schema({TOKENS: columns})) is Form.LEGACY
    assert form_for(Schema({TOKENS: columns | {"group_id"}})) is Form.ROUTABLE


def prefix_of(address: Address) -> str:
    with database.reading(address) as connection:
        return read_prefix(connection, read_schema(connection))


def after(address: Address, **columns: Any) -> str:
    """The prefix once a newer row of settings has been written."""
    if "token_prefixes" in columns:
        columns["token_prefixes"] = json.dumps(columns["token_prefixes"])
    with make_engine(address).begin() as connection:
        make_settings(connection, **columns)
    return prefix_of(address)


@pytest.mark.newest_server
def test_the_prefix_is_the_one_in_the_settings(gitlab_database: Address) -> None:
    def instance(prefix: str | None) -> dict[str, str | None]:
        return {"instance_token_prefix": prefix, "another_prefix": "other"}

    assert prefix_of(gitlab_database) == "glpat-"
    assert after(gitlab_database) == "glpat-"
    assert after(gitlab_database, personal_access_token_prefix="acme_") == "acme_"
    assert after(gitlab_database, personal_access_token_prefix="") == ""
    assert after(gitlab_database, personal_access_token_prefix=None) == ""
    assert after(gitlab_database, token_prefixes=instance("acme")) == "acme-glpat-"
    assert after(gitlab_database, token_prefixes=instance("acme"), personal_access_token_prefix="x") == "acme-glpat-"
    for unset in ("gl", "", " ", None):
        assert after(gitlab_database, token_prefixes=instance(unset), personal_access_token_prefix="x") == "x"


@pytest.mark.newest_server
def test_the_prefix_and_the_form_of_older_releases(gitlab_database_at: Callable[[str], Address]) -> None:
    forms = {"16.0": Form.LEGACY, "18.1": Form.LEGACY, "18.3": Form.ROUTABLE, "18.4": Form.ROUTABLE}
    for release, form in forms.items():
        address = gitlab_database_at(release)
        with database.reading(address) as connection:
            assert form_for(read_schema(connection)) is form
        assert after(address, personal_access_token_prefix="acme_") == "acme_"

    # GitLab 18.3 has the instance's prefix, but not yet for these tokens.
    settings = {"token_prefixes": {"instance_token_prefix": "acme"}, "personal_access_token_prefix": "x"}
    assert after(gitlab_database_at("18.3"), **settings) == "x"
    assert after(gitlab_database_at("18.4"), **settings) == "acme-glpat-"


@pytest.mark.newest_server
def test_settings_without_prefixes_leave_the_standard_one(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, personal_access_token_prefix="acme_")
    with database.reading(gitlab_database) as connection:
        assert read_prefix(connection, Schema({SETTINGS: frozenset({"id"})})) == "glpat-"
