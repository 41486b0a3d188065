"""What GitLab stores of tokens that it encrypts: NIST's own vectors, and Ruby's OpenSSL, which GitLab uses."""

import base64
import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens.gitlab.digest import Keys
from tokens.gitlab.sealed import encrypt, sealed
from tokens.secret import Secret

KEYS = Keys.of(["0badcafe" * 16, "short"])

# As GitLab does it: Gitlab::CryptoHelper's key and nonces, Encryptor's order of ciphertext and tag.
SCRIPT = """
require "openssl"; require "base64"; require "json"; require "digest"
asked = JSON.parse(STDIN.read)
fit = ->(text, bytes) { text.byteslice(0, bytes).ljust(bytes, "0") }
seal = ->(text, key, nonce) {
  cipher = OpenSSL::Cipher.new("aes-256-gcm").encrypt
  cipher.key = fit.(key, 32); cipher.iv = nonce; cipher.auth_data = ""
  Base64.strict_encode64(cipher.update(text) + cipher.final + cipher.auth_tag)
}
found = asked.map do |text, key|
  nonce = Digest::SHA256.hexdigest(text)[0, 12]
  ["|" + seal.(text, key, nonce) + nonce, seal.(text, key, fit.(key, 12))]
end
puts JSON.generate(found)
"""


@pytest.mark.parametrize(
    ("key", "nonce", "text", "expected"),
    [
        ("00" * 32, "00" * 12, "", "530f8afbc74536b9a963b4f1c4cb738b"),
        ("00" * 32, "00" * 12, "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ],
)
def test_the_cipher_is_the_standards(key: str, nonce: str, text: str, expected: str) -> None:
    """Test cases 13 and 14 of the specification of Galois/counter mode."""
    plain = Secret(bytes.fromhex(text).decode())
    assert encrypt(bytes.fromhex(key), bytes.fromhex(nonce), plain).hex() == expected


def test_it_is_what_gitlabs_own_ruby_makes() -> None:
    if shutil.which("ruby") is None:
        pytest.skip("there is no ruby here to compare with (Debian: ruby)")
    texts = ["gldt-AbCdEfGh1234567890_-", "x", "glagent-" + "z" * 50, "0" * 16, "glptt-" + "0123456789abcdef" * 2]
    asked = [(text, key.reveal()) for text in texts for key in reversed(KEYS.values)]
    done = subprocess.run(["ruby", "-e", SCRIPT], input=json.dumps(asked), capture_output=True, text=True, check=True)
    expected = [one for both in json.loads(done.stdout) for one in both]
    assert [one for text in texts for one in sealed(Secret(text), KEYS)] == expected


@given(st.text(max_size=80))
def test_the_same_text_is_always_sealed_the_same_and_tells_its_length_alone(text: str) -> None:
    found = sealed(Secret(text), KEYS)
    assert found == sealed(Secret(text), KEYS)
    assert len(set(found)) == 4
    length = len(text.encode())
    assert {len(base64.b64decode(one.removeprefix("|")[:-12] if one[0] == "|" else one)) for one in found} == {
        length + 16
    }
