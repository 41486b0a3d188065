"""Made files of GitLab's shapes: as people and programs write them, and as nobody should."""

import json
import random
from collections.abc import Iterable
from typing import Any

# Two blanks lie between one and the next.
COMMON = r"""
~  null  Null  yes  No  on  OFF  true  False  y  n  =  <<  5432  05432  08  0x1F  0b11  0o17  +12  -7  12,345  1,2,3
1_000  12__3  1_  1:30  12:34:56  1:30.5  190:20:30.15  -1:30  1_0:30  10:99  01:01:01:01  1.5  .5  5.  .  -.  +.  1e5
1.5e+3  1.e+5  1.0e400  1.0e+400  .inf  -.INF  .NaN  +.inf  685_230.15  1,5.5  0.1  1.10  1.0e+16  1.0e-5  0.00001
123456789012345678901  2024-1-5  2024-02-30  2024-13-01  2024-01-05  :abc  :"a b"  :'a'b'  ::a  :a:b  a:b
"quoted"  'single'  'it''s'  "tab\there"  "\u00e9"  "a\x41"  "a\/b"  "\0"  été  über  naïve
!!str 12  !!int 12  !!int '0x1f'  !!float 1  !!float '1.5'  !!bool 'yes'  !!null ''  !binary aGVsbG8=
!!binary 'aGVs bG8'  !!binary a  !foo '12'  ! 12  ! '12'  !!map {a: b}  !!seq [a]  !str 5  !<tag:yaml.org,2002:str> 5
gitlab  gitlabhq_production  /var/opt/gitlab/postgresql  db.example.com  10.0.0.1  s3cr3t  verify-full  a,b  p@ss  pa#ss
pa #ss  #pass  {}  []  {a: b}  [a, b]  {a: [1, {b: c}]}  [a, [b]]  {"a":"b"}  {a, b: }  {? a : b}  {"hosts":[]}
"""
RARE = r"""
-  ?  :  a:  0_  0x_  .e+5  0000-01-01  1500-02-29  2024-01-05 10:00:00  2024-01-05T10:00:00Z
2001-12-14t21:59:43.1-05:00  "\ud800"  "\ud83d\ude00"
!!float x  !!binary /w==  !ruby/symbol abc  !ruby/sym abc  !ruby/object:Object {}
!ruby/regexp /a/  !!set {a, b}  !!omap [a: b]  !!timestamp 2024-01-05  !e!x 5  %pass  `pass  @pass  *pass  &pass  |pass
>pass  !pass  {a: b  [a
"""
CONTROLS = ("", "o\ufb00", "ye\u017f", "\u200b", "\u00a0x", "\x85", "\u2028", "a\tb", "\tb", "a\t", "\ufeffa")

_COMMON = tuple(COMMON.replace("\n", "  ").split("  "))
_RARE = (*RARE.replace("\n", "  ").split("  "), *CONTROLS)
SCALARS = (*_COMMON, *_RARE)

# The names on each level of a file.
Shape = tuple[tuple[str, ...], ...]
SHAPES: tuple[Shape, ...] = (
    (
        (".defaults", "development", "test", "production", "production", "shared", ":production"),
        ("main", "ci", "geo", "config_command", ":main"),
        ("adapter", "host", "port", "database", "username", "password", "sslmode", "url", "on", "1", "1.0", ":host"),
        ("hosts", "statement_timeout", "record", "yes"),
    ),
    (
        ("shared", "production", "development"),
        ("db_key_base", "secret_key_base", "otp_key_base", "openid_connect_signing_key", "null", "~"),
        ("x", "2024-01-05"),
    ),
    (
        ("production", "development"),
        ("gitlab", "ldap", "artifacts"),
        ("host", "port", "https", "relative_url_root", "ssh_host", "servers", "=", "!!str <<"),
        ("main", "enabled", "port"),
    ),
)
HEADS = ("---", "--- # head", "%YAML 1.1\n---", "%YAML 1.2\n---", "\ufeff---", "\ufeff# head", "--- |")
ENDS = ("---", "...", "---\nother: 1", "...\n---", "--- ", "---\n{", "# end", "\t", "  ", "- x", "}")
ALPHABETS = (
    "0123456789_,.:+-eE",
    "01_:.-",
    "0xXbBoaF_,1",
    "yesnoYESNOtrufal~",
    ":'\"ab",
    "0123456789-: TZ",
    "=<~.-+:1",
)
DAMAGE = "\t\n :-#'\"{}[]&*!|>%@`,?=~\\\r0"


class Author:
    """Writes the same files for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._anchors: list[str] = []

    def file(self) -> str:
        """A file in YAML, at times damaged."""
        self._anchors = []
        lines = self._block(self._random.choice(SHAPES), 0, self._random.choice((2, 2, 2, 4, 1)))
        if self._often(0.1):
            lines.insert(0, self._one(HEADS))
        if self._often(0.1):
            lines.append(self._one(ENDS))
        text = "\n".join(lines) + self._one(("\n", "\n", "\n", "", "\n\n", " "))
        if self._often(0.1):
            text = text.replace("\n", self._one(("\r\n", "\r\n", "\r")))
        if self._often(0.15):
            text = self._with_tabs(text)
        return self._damaged(text) if self._often(0.1) else text

    def printed(self) -> str:
        """What a config_command prints, mostly JSON."""
        if self._often(0.2):
            return self.file()
        values: tuple[Any, ...] = (
            "s3cr3t",
            "12345",
            5432,
            True,
            None,
            1.5,
            "😀",
            "a/b",
            "é",
            "",
            [],
            ["a"],
            {},
            "yes",
            "\t",
            ":a",
        )
        names = ("host", "password", "port", "database", "on", "1", ":a", "<<", "a b", "")
        main = {self._one(names): self._random.choice(values) for _ in range(3)}
        if self._often(0.2):
            main["<<"] = self._random.choice(({"port": 1}, [{"port": 1}, {"port": 2}], "x", [1]))
        content = {self._one(("main", "ci")): main, self._one(("geo", "ci")): self._random.choice(values)}
        indent = self._random.choice((None, 2, "\t", "\t"))
        text = json.dumps(content, indent=indent, ensure_ascii=self._often(0.5))
        if self._often(0.2):
            text = text.replace(": ", self._one((":", ":\t", " : ", ":\n"))).replace("/", self._one(("/", "\\/")))
        return self._damaged(text) if self._often(0.15) else text

    def scalar(self) -> str:
        """A few characters of those that numbers, dates and words are made of."""
        alphabet = self._one(ALPHABETS)
        return "".join(self._random.choice(alphabet) for _ in range(self._random.randint(1, 9)))

    def url(self) -> str:
        """A database's URL, at times damaged."""
        rare = self._often(0.2)
        user = self._one(("", "gitlab@", "git%40lab:p%2Fw@", "u:@", ":p@", "u:p+w@", "a;b:c&d=e@", *("u:p@w@",) * rare))
        host = self._one(("", "db", "Db.Example.COM", "10.0.0.1", "[::1]", "[2001:DB8::A]", "%2Frun%2Fpg", "h."))
        host = self._one(("a_b", "a,b", "[::1", "[1]")) if rare else host
        port = self._one((":", ":05", ":x", ":0")) if rare else self._one(("", ":5432") if host else ("",))
        path = self._one(("", "/", "/gitlab", "/a%20b", "/a/b", "/a+b", "/A", *("/a@b", "/%ff") * rare))
        names = ("sslmode", "sslrootcert", "host", "hostaddr", "user", "pool", "%70ort", *("adapter",) * rare)
        values = ("", "a", "%2Fetc%2Fssl%2Fa.pem", "a+b", "a=b", "/a/b", "a,b", "postgresql", "%41", "[::1]")
        query = "&".join(
            self._one((f"{self._one(names)}={self._one(values)}", "x", *("", "a=%zz") * rare)) for _ in range(2)
        )
        scheme = self._one(("postgresql", "postgres", "PostgreSQL", *("mysql2",) * rare))
        url = f"{scheme}:{self._one(('//', '/', '')) if rare else '//'}{user}{host}{port}{path}"
        url += self._one(("", f"?{query}", f"?{query}", "?", "#x", " "))
        return self._damaged(url) if self._often(0.1) else url

    def _often(self, share: float) -> bool:
        return self._random.random() < share

    def _one(self, choices: Iterable[str]) -> str:
        return self._random.choice(tuple(choices))

    def _block(self, shape: Shape, depth: int, step: int) -> list[str]:
        pad = " " * (step * depth)
        lines = []
        for _ in range(self._random.randint(1, 4)):
            if self._anchors and self._often(0.3):
                lines.append(f"{pad}{self._one(('<<', '<<', '<<', repr('<<')))}: {self._merged()}")
            lines += self._entry(shape, depth, step, pad)
            if self._often(0.1):
                lines.append(self._one(("", "# note", f"{pad}# note", "   ")))
        return lines

    def _entry(self, shape: Shape, depth: int, step: int, pad: str) -> list[str]:
        key = self._one(shape[depth])
        anchor = self._one(("a", "b", "defaults")) if self._often(0.25) else ""
        mark = f" &{anchor}" if anchor else ""
        comment = self._one(("", "", "", " # note", "  #", "\t# note"))
        if depth < len(shape) - 1 and self._often(0.75):
            if self._often(0.95):  # else there may be an alias inside of what it stands for
                self._anchors = [one for one in self._anchors if one != anchor]
            lines = [f"{pad}{key}:{mark}{comment}", *self._block(shape, depth + 1, step)]
        elif self._often(0.1):
            lines = [f"{pad}{key}:{mark} {self._one('|>')}{self._one(('', '-', '+'))}", f"{pad}  a", "", f"{pad}   no"]
        elif self._often(0.1):
            lines = [
                f"{pad}{key}:{mark} {self._one(('no', 'a', 'x y'))}",
                "",
                f"{pad}  {self._one(('no', 'yes', 'b'))}",
            ]
        elif self._often(0.1):
            lines = [f"{pad}{key}:{mark}", *(f"{pad}- {self._scalar()}" for _ in range(2))]
        else:
            value = self._value()
            anchor, mark = ("", "") if value.startswith("*") else (anchor, mark)
            lines = [f"{pad}{key}:{mark} {value}{comment}"]
        if anchor:
            self._anchors.append(anchor)
        return lines

    def _merged(self) -> str:
        if self._often(0.3):
            return "[" + ", ".join("*" + self._one(self._anchors) for _ in range(2)) + "]"
        if self._often(0.1):
            return self._one(("{port: 1, host: x}", "x", "", "[x]", "[{port: 1}, {port: 2, a: b}]", "!!map {port: 3}"))
        return "*" + self._one(self._anchors)

    def _value(self) -> str:
        if self._anchors and self._often(0.15):
            return "*" + self._one(("nowhere",) if self._often(0.02) else self._anchors)
        if self._anchors and self._often(0.15):
            entries = [f"{self._one(('port', 'host', 'on'))}: {self._one('1x')}", f"<<: {self._merged()}"]
            self._random.shuffle(entries)
            return "{" + ", ".join(entries) + "}"
        return self._scalar()

    def _scalar(self) -> str:
        if self._often(0.02):
            return self._one(_RARE)
        return self.scalar() if self._often(0.05) else self._one(_COMMON)

    def _with_tabs(self, text: str) -> str:
        match self._random.randrange(4):
            case 0:
                return text.replace(": ", ":\t", self._random.randint(1, 3))
            case 1:
                return text.replace(" #", "\t#")
            case 2:
                return text.replace("  ", "\t", self._random.randint(1, 3))
        place = self._random.randrange(len(text) + 1)
        return text[:place] + "\t" + text[place:]

    def _damaged(self, text: str) -> str:
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randrange(len(text) + 1)
            text = text[:place] + self._one(DAMAGE) + text[place + self._random.randrange(3) :]
        return text
