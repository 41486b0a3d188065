"""What GitLab stores of tokens that it has to show again: the same ciphertext for the same text, so it can be found.

Deploy tokens, and those of runners, agents and triggers, are encrypted by AES-256 in Galois/counter mode, with the
instance's `db_key_base` as its key. Their nonce is made from the text (GitLab 14.0 and later), or from the key.

The cipher is written out here (FIPS 197, NIST SP 800-38D), since no library that comes along has one: it takes a
thousandth of a second for a token. It is for looking tokens up and for nothing else.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence

from tokens.gitlab.digest import Keys
from tokens.secret import Secret

KEY_BYTES, NONCE_BYTES, BLOCK = 32, 12, 16
ROUNDS = 14
WITH_NONCE = "|"  # how what has its nonce at its end begins
REDUCTION = 0xE1 << 120  # of the field over which the tag is computed


def sealed(token: Secret, keys: Keys) -> tuple[str, ...]:
    """Every text under which GitLab would find `token` in a column such as `token_encrypted`, the current key's first.

    GitLab: for each key, and with a nonce from the token first (12 hexadecimal digits of its SHA-256).
    """
    return tuple(text for key in reversed(keys.values) for text in _under(token, key))


def encrypt(key: bytes, nonce: bytes, text: Secret) -> bytes:
    """The ciphertext of AES-256-GCM without additional data, and behind it the tag of 16 bytes."""
    schedule = _expanded(key)
    factor = int.from_bytes(_block(schedule, bytes(BLOCK)))
    first = int.from_bytes(nonce + b"\0\0\0\1")
    plain = text.reveal().encode(errors="surrogatepass")
    length = len(plain)
    stream = b"".join(_block(schedule, (first + 1 + n).to_bytes(BLOCK)) for n in range(-(-length // BLOCK)))
    cipher = bytes(one ^ other for one, other in zip(plain, stream, strict=False))
    tag = 0
    for block in (*_blocks(cipher), (length * 8).to_bytes(BLOCK)):
        tag = _product(tag ^ int.from_bytes(block), factor)
    return cipher + (tag ^ int.from_bytes(_block(schedule, first.to_bytes(BLOCK)))).to_bytes(BLOCK)


def _under(token: Secret, key: Secret) -> Iterator[str]:
    key_bytes = _sized(key, KEY_BYTES)
    nonce = hashlib.sha256(token.reveal().encode(errors="surrogatepass")).hexdigest()[:NONCE_BYTES]
    yield f"{WITH_NONCE}{_base64(encrypt(key_bytes, nonce.encode(), token))}{nonce}"
    yield _base64(encrypt(key_bytes, _sized(key, NONCE_BYTES), token))


def _sized(key: Secret, length: int) -> bytes:
    """The key's first bytes; a shorter one is filled up with the digit zero, as GitLab does."""
    whole = key.reveal().encode(errors="surrogatepass")[:length].decode(errors="ignore")  # no half a character
    return whole.encode().ljust(length, b"0")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _blocks(text: bytes) -> Iterator[bytes]:
    for start in range(0, len(text), BLOCK):
        yield text[start : start + BLOCK].ljust(BLOCK, b"\0")


def _product(one: int, other: int) -> int:
    """Of two elements of the field with 2 to the 128 elements, whose bits are written from the left."""
    found = 0
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            found ^= other
        other = other >> 1 ^ (REDUCTION if other & 1 else 0)
    return found


def _doubled(byte: int) -> int:
    return (byte << 1 ^ 0x11B) & 0xFF if byte & 0x80 else byte << 1


def _substitutions() -> bytes:
    """The S-box: the inverse of each byte, and a sum of its rotations."""
    box = bytearray(256)
    one = inverse = 1
    while True:
        one ^= _doubled(one)  # times 3, which comes to every byte but 0
        inverse ^= inverse << 1
        inverse ^= inverse << 2
        inverse ^= inverse << 4
        inverse = (inverse ^ (0x09 if inverse & 0x80 else 0)) & 0xFF
        turned = inverse
        for shift in range(1, 5):
            turned ^= (inverse << shift | inverse >> 8 - shift) & 0xFF
        box[one] = turned ^ 0x63
        if one == 1:
            break
    box[0] = 0x63
    return bytes(box)


BOX = _substitutions()
SHIFTED = tuple((column * 4 + row + 4 * row) % BLOCK for column in range(4) for row in range(4))


def _expanded(key: bytes) -> Sequence[bytes]:
    """The keys of the rounds."""
    words = [key[start : start + 4] for start in range(0, KEY_BYTES, 4)]
    constant = 1
    while len(words) < 4 * (ROUNDS + 1):
        word, number = words[-1], len(words)
        if number % 8 == 0:
            word = bytes(BOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _doubled(constant)
        elif number % 8 == 4:
            word = bytes(BOX[byte] for byte in word)
        words.append(bytes(one ^ other for one, other in zip(word, words[-8], strict=True)))
    return [b"".join(words[start : start + 4]) for start in range(0, len(words), 4)]


def _block(schedule: Sequence[bytes], block: bytes) -> bytes:
    """One block, encrypted."""
    state = _sum(block, schedule[0])
    for number in range(1, ROUNDS + 1):
        state = bytes(BOX[state[place]] for place in SHIFTED)
        if number < ROUNDS:
            state = bytes(mixed for start in range(0, BLOCK, 4) for mixed in _mixed(state[start : start + 4]))
        state = _sum(state, schedule[number])
    return state


def _mixed(column: bytes) -> Iterator[int]:
    whole = column[0] ^ column[1] ^ column[2] ^ column[3]
    for number in range(4):
        yield column[number] ^ whole ^ _doubled(column[number] ^ column[(number + 1) % 4])


def _sum(one: bytes, other: bytes) -> bytes:
    return bytes(first ^ second for first, second in zip(one, other, strict=True))
