"""What somebody has meant by a command line that cannot be understood, in one line.

A word that is not plain is never repeated: it may be an address with a password.
"""

import difflib
import re
from collections.abc import Sequence

from tokens.help.catalogue import Catalogue
from tokens.help.words import is_about_a_run, option_of
from tokens.targets.target import WORDS
from tokens.tasks.option import Option

PLAIN = re.compile(r"-{0,2}[A-Za-z0-9._+-]{1,60}")
PLACE = re.compile(r"(docker|source|kubernetes):[A-Za-z0-9._/-]{1,60}")
HIDDEN = "a word that is not repeated, since it may hold a password"


def missing_value(catalogue: Catalogue, task: str | None, name: str) -> str:
    """What to say of an option that was given nothing."""
    flag = f"--{name.replace('_', '-')}"
    for option in catalogue.tasks[task].options if task is not None and task in catalogue.tasks else ():
        if option.flag == flag:
            return f"{flag} needs {option.needs.words} such as {option.needs.example}."
    return f"{flag} needs a value: {catalogue.program} help options."


def unknown_word(catalogue: Catalogue, task: str | None, word: str, typed: Sequence[str]) -> str:
    """What to say of a word that nobody understands.

    Args:
        catalogue: the program's tasks.
        task: the task that it follows, None for none.
        word: the word, without what follows an equals sign.
        typed: all words after the program's.
    """
    if task is None or task not in catalogue.tasks:
        return _option_without_task(catalogue, word, typed) if word.startswith("-") else no_task(catalogue, word)
    options = catalogue.tasks[task].options
    if word.startswith("-"):
        return _no_option(catalogue, task, word, options)
    return _no_place_for(catalogue, task, word, typed)


def no_task(catalogue: Catalogue, word: str) -> str:
    """What to say of a name that no task and no group has."""
    named = f'"{word}"' if PLAIN.fullmatch(word) else HIDDEN
    if not PLAIN.fullmatch(word):
        return f"There is no task of that name ({named}); {catalogue.program} help lists them."
    meant = _closest(word, [*catalogue.tasks, *catalogue.groups])
    if meant:
        return f'There is no task {named}; did you mean "{meant}"?'
    return f"There is no task {named}; {catalogue.program} help lists them."


def _option_without_task(catalogue: Catalogue, word: str, typed: Sequence[str]) -> str:
    named = word if PLAIN.fullmatch(word) else "An option"
    later = next((one for one in typed if one in catalogue.tasks), None)
    having = later or next((name for name, task in catalogue.tasks.items() if option_of(task.options, word)), None)
    option = having and option_of(catalogue.tasks[having].options, word)
    if having and option:
        return (
            f"{option.flag} comes after the task: {catalogue.program} {having} {option.flag}"
            f"{f' {option.needs.example}' if option.takes_value else ''}"
        )
    return f"{named} is no option of {catalogue.program}; {catalogue.program} help options lists those that it has."


def _no_option(catalogue: Catalogue, task: str, word: str, options: Sequence[Option]) -> str:
    if not PLAIN.fullmatch(word):
        return f"{task} has no such option ({HIDDEN}); {catalogue.program} help {task} lists those that it has."
    said = f'{task} has no option "{word}"'
    bare = word.lstrip("-").lower()
    for option in options:
        if bare in option.needs.choices:
            return f"{said}; did you mean {option.flag} {bare}?"
    flags = [option.flag for option in options]
    meant = _closest(f"--{bare.replace('_', '-')}", flags)
    if meant:
        return f"{said}; did you mean {meant}?"
    return f"{said}; {catalogue.program} help {task} lists those that it has."


def _no_place_for(catalogue: Catalogue, task: str, word: str, typed: Sequence[str]) -> str:
    options = catalogue.tasks[task].options
    for option in options:
        given = [one for one in typed if option_of((option,), one)]
        if not option.takes_value and any(f"{one}={word}" in typed for one in (option.flag, f"-{option.short}")):
            return f"{option.flag} takes no value: leave what follows it out."
        if option.takes_value and not option.several and len(given) > 1:
            return f"{option.flag} was given {'twice' if len(given) == 2 else 'several times'}; give it once."
    has_target = any(option.name == "target" for option in options)
    if has_target and (word.rstrip(":").lower() in WORDS or PLACE.fullmatch(word)):
        return f"{task} takes a target after its option: {catalogue.program} {task} --target {word.lower()}"
    if has_target and not PLAIN.fullmatch(word):
        return f"{task} does not understand {HIDDEN}. A target follows its option: --target TARGET."
    if not PLAIN.fullmatch(word):
        return f"{task} does not understand {HIDDEN}; {catalogue.program} help {task} explains its options."
    if word == "help":
        return f"The help comes first: {catalogue.program} help {task}"
    meant = _closest(f"--{word.lower().replace('_', '-')}", [option.flag for option in options])
    if meant:
        return f'{task} does not understand "{word}"; did you mean {meant}?'
    meant = _closest(word, list(catalogue.tasks))
    if meant:
        return f'There is no task "{word}"; did you mean "{meant}"?'
    if word[:1].isdigit() and is_about_a_run(task):
        return f'{task} takes the number of one run, not "{word}": {catalogue.program} {task} 12'
    return (
        f'{task} does not understand "{word}": a value follows its option, as in --target demo; '
        f"{catalogue.program} help {task} explains them."
    )


def _closest(word: str, known: Sequence[str]) -> str | None:
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None
