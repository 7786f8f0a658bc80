"""The changes of an import, grouped for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from portfolio.imports.changes import ImportedFile


@dataclass(frozen=True)
class Group:
    """A kind of changes: its first lines, and the number of further lines."""

    name: str
    lines: Sequence[str]
    more: int
    is_open: bool

    @property
    def count(self) -> int:
        return len(self.lines) + self.more


def change_groups(planned: ImportedFile, most_lines: int) -> list[Group]:
    """The kinds of changes that have lines, by portfolio if there are several; unchanged holdings are folded."""
    several = len(planned.portfolios) > 1
    kinds = [("Notes", planned.content.notes)]
    for one in planned.portfolios:
        where = f" in {one.portfolio}" if several else ""
        kinds += [
            (f"To be added{where}", one.added),
            (f"To be changed{where}", one.changed),
            (f"To be removed{where}", one.removed),
            (f"Unchanged{where}", one.unchanged),
        ]
    return [
        Group(name, lines[:most_lines], len(lines[most_lines:]), is_open=not name.startswith("Unchanged"))
        for name, lines in kinds
        if lines
    ]
