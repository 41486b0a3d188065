"""The tasks by the names under which a program has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tokens.cli.declaration import Family, Task


@dataclass(frozen=True)
class Catalogue:
    """The tasks of one program: `gitlab-tokens`, or the `inv` of a bundle, where each name begins with `tokens.`."""

    program: str
    tasks: Mapping[str, Task]
    """Every task by its full name."""

    groups: Mapping[str, str]
    """What there is to say of each group of tasks, such as `journal`."""

    def of_group(self, group: str) -> Mapping[str, Task]:
        """The tasks of a group, by their full names."""
        return {name: task for name, task in self.tasks.items() if name.rpartition(".")[0] == group}

    def families(self) -> Iterator[tuple[Family, Mapping[str, Task]]]:
        """The tasks under their headings."""
        for family in Family:
            yield family, {name: task for name, task in self.tasks.items() if task.family is family}


def summary(task: Task) -> str:
    """The first line of its manual."""
    return (task.__doc__ or "").strip().partition("\n")[0]
