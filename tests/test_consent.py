"""The question before a change: what will be done to how many tokens, and where."""

import sys
from dataclasses import dataclass, field
from io import StringIO

import pytest

from tests.testbed.screen import Program
from tokens.commands.consent import TYPED_FROM, asked
from tokens.commands.environment import Environment
from tokens.targets.instance import Instance

NO_TERMINAL = Environment(None, None, None)
PROD = Instance(url="https://gitlab.example.com", target="prod", release="19.2.1-ee")


@dataclass
class Answering:
    """Prompts whose person gives one answer; `asked` are the questions."""

    answer: str | None
    asked: list[str] = field(default_factory=list)

    def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer == "y"

    def line(self, question: str, default: str) -> str | None:
        self.asked.append(question)
        return self.answer or default if self.answer is not None else None


def test_the_question_names_deed_and_instance() -> None:
    person = Answering("y")
    assert asked(NO_TERMINAL, person, "remove the expiration date of 7 tokens", 7, PROD)  # type: ignore[arg-type]
    assert person.asked == ["Remove the expiration date of 7 tokens on gitlab.example.com (target prod, GitLab 19.2)?"]


@pytest.mark.parametrize(
    ("answer", "yes"),
    [("12000", True), ("12,000", True), (" 12000 ", True), ("y", False), ("", False), ("1200", False), (None, False)],
)
def test_the_number_of_many_tokens_has_to_be_typed(answer: str | None, yes: bool) -> None:
    person = Answering(answer)
    deed = "extend the expiration date of 12,000 tokens"
    assert asked(NO_TERMINAL, person, deed, 12_000, PROD) is yes  # type: ignore[arg-type]
    assert person.asked == ["Type 12000 to continue:"]


def test_a_wrong_number_is_said_to_be_one() -> None:
    said = StringIO()
    assert not asked(Environment(None, None, said), Answering("y\x1b"), "extend", 12_000, PROD)  # type: ignore[arg-type]
    assert said.getvalue() == '"y\N{REPLACEMENT CHARACTER}" is not 12000.\n'


def test_a_y_is_enough_for_one_token_less() -> None:
    person = Answering("y")
    assert asked(NO_TERMINAL, person, "rotate 9,999 tokens", TYPED_FROM - 1, PROD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        (Instance(url="https://gitlab.example.com/git"), "gitlab.example.com/git"),
        (Instance(database="postgresql://gitlab@db:5432/gitlabhq"), "database gitlabhq on db:5432"),
        (
            Instance(database="git@/var/opt/gitlab/postgresql/gitlabhq"),
            "database gitlabhq on /var/opt/gitlab/postgresql",
        ),
        (
            Instance(database="postgresql://gitlab@/gitlabhq", target="postgresql://gitlab@/gitlabhq"),
            "database gitlabhq",
        ),
        (Instance(database="the demo", target="demo", release="19.2"), "the demo (GitLab 19.2)"),
        (Instance(target="docker:gitlab", place="the GitLab there"), "the GitLab there (target docker:gitlab)"),
    ],
)
def test_an_instance_is_called_by_its_url_else_by_its_database(instance: Instance, name: str) -> None:
    assert str(instance) == name


ASKS = """
from tokens.commands.consent import asked
from tokens.commands.environment import Environment
from tokens.targets.instance import Instance

environment = Environment.of_process()
prod = Instance(url="https://gitlab.example.com", target="prod", release="19.2.1-ee")
asked(environment, environment.prompts(), "extend the expiration date of {} tokens", {}, prod)
"""


@pytest.mark.parametrize(
    ("tokens", "lines"),
    [
        (7, ["Extend the expiration date of 7 tokens on gitlab.example.com (target", "prod, GitLab 19.2)? (y/N)"]),
        (
            12_000,
            [
                "Extend the expiration date of 12000 tokens on gitlab.example.com (target",
                "prod, GitLab 19.2)?",
                "Type 12000 to continue:",
            ],
        ),
    ],
)
def test_a_long_question_breaks_no_word(tokens: int, lines: list[str]) -> None:
    with Program([sys.executable, "-c", ASKS.format(tokens, tokens)], size=(24, 72)) as program:
        program.wait_for(lines[-1])
        assert program.lines == lines
