"""What somebody has meant by a command line that cannot be understood, in one line.

A word that is not plain is never repeated: it may be an address with a password, or a token.
"""

import difflib
import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from tokens.cli.declaration import no_argument
from tokens.cli.option import Option, listed
from tokens.errors import may_be_token
from tokens.help.catalogue import Catalogue
from tokens.help.words import is_about_a_run, option_of
from tokens.targets.target import WORDS

PLAIN = re.compile(r"-{0,2}[A-Za-z0-9._+,-]{1,60}")
PLACE = re.compile(r"(docker|source|kubernetes):[A-Za-z0-9._/-]{1,60}")
FORMS = ("text", "json", "csv", "yaml", "table")
UNSHOWN = "not shown, since it may hold a password"


def missing_value(catalogue: Catalogue, task: str | None, name: str) -> str:
    """What to say of an option that was given nothing."""
    flag = f"--{name.replace('_', '-')}"
    option = option_of(_options_of(catalogue, task), flag)
    if option is not None:
        return f"{flag} needs {option.needs.words} such as {option.needs.example}."
    return f"{flag} needs a value: {catalogue.program} help options"


def unknown_word(
    catalogue: Catalogue, task: str | None, word: str, typed: Sequence[str], targets: Collection[str] = ()
) -> str:
    """What to say of a word that is not understood.

    Args:
        catalogue: the program's tasks.
        task: the task that it follows, None for none.
        word: the word, without what follows an equals sign.
        typed: all words after the program's.
        targets: the names that the configuration gives to targets.
    """
    if task is None or task not in catalogue.tasks:
        return _option_first(catalogue, word, typed) if word.startswith("-") else no_task(catalogue, word, typed)
    if word.startswith("-"):
        return _no_option(catalogue, task, word)
    return _no_place_for(catalogue, task, word, typed, targets)


def no_task(catalogue: Catalogue, word: str, typed: Sequence[str] = ()) -> str:
    """What to say of a name that no task has."""
    if not _is_plain(word):
        return f"There is no task of that name ({UNSHOWN}); {catalogue.program} help lists them."
    following = _following(typed, word)
    if word in catalogue.groups:
        meant = _closest(f"{word}.{following}", list(catalogue.of_group(word)))
        if meant:
            return f'"{word}" is a group of tasks; did you mean "{meant}"?'
        return f'"{word}" is a group of tasks: {catalogue.program} help {word}'
    meant = _closest(word, [*catalogue.tasks, *catalogue.groups])
    if meant:
        return f'There is no task "{word}"; did you mean "{meant}"?'
    return f'There is no task "{word}"; {catalogue.program} help lists them.'


def _option_first(catalogue: Catalogue, word: str, typed: Sequence[str]) -> str:
    """An option where a task has to be."""
    named = word if _is_plain(word) else "An option"
    later = [one for one in typed if one in catalogue.tasks]
    for task in (*later, *catalogue.tasks):
        option = option_of(catalogue.tasks[task].options, word)
        if option is not None:
            value = _following(typed, word)
            value = value if _may_be_shown(value) and value not in catalogue.tasks else option.needs.example
            shown = f"{option.flag} {value}" if option.takes_value else option.flag
            return f"{option.flag} comes after the task: {catalogue.program} {task} {shown}"
    return f"{named} is no option of {catalogue.program}; {catalogue.program} help options lists all."


def _no_option(catalogue: Catalogue, task: str, word: str) -> str:
    options = catalogue.tasks[task].options
    if not _is_plain(word):
        return f"{task} has no such option ({UNSHOWN}); {catalogue.program} help {task} lists its options."
    said = f'{task} has no option "{word}"'
    bare = word.lstrip("-").lower().replace("_", "-")
    for option in options:
        if (bare in option.needs.choices and not bare.isdigit()) or (bare in FORMS and option.name == "output"):
            form = bare if bare in option.needs.choices else f"with {listed(option.needs.choices)}"
            return f"{said}; use {option.flag} {form}."
    others = [name for name, other in catalogue.tasks.items() if option_of(other.options, word) and len(word) > 2]
    # A task that changes nothing, if there is one: it may be typed to find out.
    other = min(others, key=lambda name: option_of(catalogue.tasks[name].options, "--yes") is not None, default=None)
    if meant := _closest(bare, [option.flag[2:] for option in options]):
        return f"{said}; did you mean --{meant}?{f' Or {other}, which has {word}?' if other else ''}"
    if other:
        return f"{said}; {other} has it. {catalogue.program} help {task} lists its options."
    return f"{said}; {catalogue.program} help {task} lists its options."


def _no_place_for(catalogue: Catalogue, task: str, word: str, typed: Sequence[str], targets: Collection[str]) -> str:
    options = catalogue.tasks[task].options
    for option in options:
        given = [one for one in typed if option_of((option,), one)]
        if not option.takes_value and any(f"{one}={word}" in typed for one in (option.flag, f"-{option.short}")):
            return f"{option.flag} takes no value: use it alone."
        if option.takes_value and not option.several and len(given) > 1:
            return f"{option.flag} was given {'twice' if len(given) == 2 else 'several times'}; give it once."
    if option_of(options, "--target"):
        target = word if word in targets else word.lower()
        if _is_target(target, targets):
            return f"A target follows --target: {catalogue.program} {task} --target {target}"
    if catalogue.tasks[task].reads_secret:
        return no_argument(f"{catalogue.program} {task}")
    if not _is_plain(word):
        return f"{task} does not understand one word ({UNSHOWN}). Each value follows its option, as in --target TARGET."
    if meant := _closest(word.replace("_", "-"), [option.flag[2:] for option in options]):
        return f'{task} does not understand "{word}"; did you mean --{meant}?'
    if is_about_a_run(task):
        return f'{task} takes the number of one run, not "{word}": {catalogue.program} history lists the runs.'
    if meant := _closest(word, [*catalogue.tasks, "help"]):
        shown = f"{catalogue.program} help {task}" if meant == "help" else meant
        return f'There is no task "{word}"; did you mean "{shown}"?'
    return (
        f'{task} does not understand "{word}". Each value follows its option: {catalogue.program} help {task} lists '
        "the options."
    )


def _is_target(word: str, targets: Collection[str]) -> bool:
    return word in (*WORDS, *targets) or PLACE.fullmatch(word) is not None


def _may_be_shown(word: str) -> bool:
    return _is_plain(word) or PLACE.fullmatch(word) is not None


def _is_plain(word: str) -> bool:
    return PLAIN.fullmatch(word) is not None and not may_be_token(word)


def _options_of(catalogue: Catalogue, task: str | None) -> Sequence[Option]:
    return catalogue.tasks[task].options if task is not None and task in catalogue.tasks else ()


def _following(typed: Sequence[str], word: str) -> str:
    """The word after this one, empty where it is the last."""
    return next((after for before, after in pairwise(typed) if before == word), "")


def _closest(word: str, known: Sequence[str]) -> str | None:
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None
