"""What the text of a token tells: which kind of GitLab's it is by its prefix, and where in other text one may be."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.plaintext import DEFAULT_PREFIX, Form, checksum_holds
from tokens.secret import Secret

LONGEST = 400
"""Characters that no token has: the routable form has 300 at most, with the longest prefix that GitLab allows."""

COMMON = "gl"  # how nearly all of GitLab's own prefixes begin
LONGEST_PREFIX = 21  # characters that an instance may put before GitLab's own, with a dash

IN_CLEAR = "GitLab keeps these in clear, so it cannot be looked up without showing it to the database"
ONE_WAY = "GitLab keeps these in a form of its own that is not known here, so it cannot be looked up"
FRIENDLY = "[A-Za-z0-9_-]{20}"


@dataclass(frozen=True)
class TextKind:
    """One kind of token by its prefix.

    Attributes:
        name: as programs get it.
        shown: the same with its article, for a sentence.
        prefix: GitLab's own; an instance's may stand before it.
        body: what follows it in the older form, as a regular expression.
        other: the credential whose table has it, encrypted; None for access tokens, which have a digest.
        why: why it cannot be looked up; empty where it can.
    """

    name: str
    shown: str
    prefix: str
    body: str = FRIENDLY
    other: OtherKind | None = None
    why: str = ""


ACCESS_TOKEN = TextKind("access-token", "an access token", DEFAULT_PREFIX)

# GitLab's documentation, "Token overview", has them all but the last; that is what registers a runner (GitLab 14.8).
TEXT_KINDS = (
    ACCESS_TOKEN,
    TextKind("deploy-token", "a deploy token", "gldt-", other=OtherKind.DEPLOY_TOKEN),
    TextKind("runner-token", "a runner's token", "glrt-", "(?:t[123]_)?" + FRIENDLY, OtherKind.RUNNER),
    TextKind("runner-token", "a runner's token", "glrtr-", other=OtherKind.RUNNER),
    TextKind("agent-token", "an agent's token", "glagent-", "[A-Za-z0-9_-]{50}", OtherKind.AGENT),
    TextKind("trigger-token", "a trigger token", "glptt-", "[0-9a-f]{40}", OtherKind.TRIGGER),
    TextKind("feed-token", "a feed token", "glft-", f"[0-9a-f]{{64}}-[0-9]+|{FRIENDLY}", why=IN_CLEAR),
    TextKind("mail-token", "a token for incoming mail", "glimt-", "[0-9a-z]{20,26}", why=IN_CLEAR),
    TextKind("job-token", "a job's token", "glcbt-", f"(?:[0-9a-f]{{1,5}}_)?{FRIENDLY}", why=ONE_WAY),
    TextKind("oauth-secret", "an OAuth application's secret", "gloas-", "[0-9a-f]{64}", why=ONE_WAY),
    TextKind("scim-token", "a SCIM token", "glsoat-", why=ONE_WAY),
    TextKind("feature-flags-token", "a feature flags client's token", "glffct-", why=ONE_WAY),
    TextKind("workspace-token", "a workspace's token", "glwt-", why=ONE_WAY),
    TextKind("registration-token", "a runner registration token", "GR1348941", why=ONE_WAY),
)

# A cell's own form: the random part and the payload, its version, its length and a checksum. The first of that form had
# no version.
ROUTABLE = r"[A-Za-z0-9_-]{20,330}(?:\.[0-9a-z]{2})?\.[0-9a-z]{9}"

RUN = r"([A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9_-]+){0,2})"

# For what has no prefix: a text in which each character that a token may have is an x, and any other one a blank. A
# search for a fixed text is ten times as fast as one for an expression.
SHAPES = bytes(120 if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"_-") else 32 for byte in range(256))
BARE_SHAPE = b" " + b"x" * 20 + b" "
BEFORE = re.compile(rb"[A-Za-z0-9_.+-]{1,20}-\Z")

FEED_OF = re.compile(r".*-[0-9a-f]{64}-([0-9]{1,18})")


@dataclass(frozen=True)
class Found:
    """A place in a text where a token may be.

    Attributes:
        position: bytes from the beginning of the text.
        texts: what may be meant, the likeliest first: it cannot be seen whether a word before it is its prefix. None
            where the checksum does not belong to it: it has the form of a token, and is none.
        kind: what it is by its prefix; None where it has none.
        sure: whether its form tells that it is one; if not, it counts where GitLab knows it alone.
    """

    position: int
    texts: tuple[Secret, ...]
    kind: TextKind | None
    sure: bool


def kind_of(token: Secret, prefixes: Iterable[str] = ()) -> TextKind | None:
    """What a token is by its prefix; `prefixes` are those that this instance gives its access tokens, too."""
    for kind in TEXT_KINDS:
        if re.match(rf"(?:[A-Za-z0-9_.-]{{1,{LONGEST_PREFIX - 1}}}-)?{kind.prefix}", token.reveal()):
            return kind
    begins = any(prefix and token.reveal().startswith(prefix) for prefix in prefixes)
    return ACCESS_TOKEN if begins else None


def is_damaged(token: Secret) -> bool:
    """Whether it has the newer form, and a checksum that does not belong to it: a character is wrong."""
    return re.fullmatch(f".{{1,50}}?{ROUTABLE}", token.reveal()) is not None and not checksum_holds(token)


def user_of_feed(token: Secret) -> int | None:
    """The id of the user that a feed token names in clear (GitLab 16.0 and later: for one feed alone)."""
    found = FEED_OF.fullmatch(token.reveal())
    return int(found[1]) if found else None


class Finder:
    """Finds tokens in any text, and what may be one of an older release: 20 characters without a prefix.

    Args:
        prefixes: what this instance's access tokens begin with.
    """

    def __init__(self, prefixes: Iterable[str] = ()) -> None:
        standard = {kind.prefix: kind for kind in TEXT_KINDS}
        # GitLab's own prefix is found behind that of an instance, too.
        own = {one: ACCESS_TOKEN for one in prefixes if one and not one.endswith(tuple(standard))}
        self._kinds = standard | own
        # Each begins with a fixed text, which makes the search many times as fast.
        usual = [prefix for prefix in standard if prefix.startswith(COMMON)]
        others = [prefix for prefix in self._kinds if prefix not in usual]
        either = "|".join(re.escape(prefix.removeprefix(COMMON)) for prefix in usual)
        shapes = [f"({COMMON}(?:{either})){RUN}", *(f"({re.escape(prefix)}){RUN}" for prefix in others)]
        self._shapes = [re.compile(shape.encode()) for shape in shapes]

    def find(self, text: bytes) -> Iterator[Found]:
        """What is there, in its order."""
        named = list(self._with_prefix(text))
        within = {place for one in named for place in range(one.position, one.position + _length(one))}
        rest = (one for one in self._without(text) if one.position not in within)
        yield from sorted((*named, *rest), key=lambda one: one.position)

    def _with_prefix(self, text: bytes) -> Iterator[Found]:
        for match in (match for shape in self._shapes for match in shape.finditer(text)):
            kind = self._kinds[match[1].decode()]
            form, length = _behind(kind, match[2].decode())
            begins, ends = match.start(), match.start(2) + length
            before = BEFORE.search(text, max(0, begins - LONGEST_PREFIX), begins)
            starts = (before.start(), begins) if before else (begins,)
            texts = tuple(Secret(text[start:ends].decode()) for start in starts)
            if form is Form.ROUTABLE:
                texts = tuple(one for one in texts if checksum_holds(one))
            if length:
                yield Found(begins, texts, kind, sure=form is not None)

    def _without(self, text: bytes) -> Iterator[Found]:
        shape = b" %b " % text.translate(SHAPES)
        place = shape.find(BARE_SHAPE)
        while place >= 0:
            word = text[place : place + 20].decode()
            # Random characters have both; names in programs and numbers in base 16 mostly do not.
            if word.lower() != word and word.upper() != word:
                yield Found(place, (Secret(word),), None, sure=False)
            place = shape.find(BARE_SHAPE, place + 21)


def _length(found: Found) -> int:
    return len(found.texts[-1].reveal()) if found.texts else 0


def _behind(kind: TextKind, run: str) -> tuple[Form | None, int]:
    """In which form a token goes on behind its prefix, None where that is not sure, and for how many characters."""
    if found := re.match(rf"{ROUTABLE}(?![A-Za-z0-9_-])", run):
        return Form.ROUTABLE, found.end()
    if found := re.match(rf"(?:{kind.body})(?![A-Za-z0-9_-])", run):
        return Form.LEGACY, found.end()
    found = re.match(f"(?:{kind.body})", run)
    return None, found.end() if found else 0
