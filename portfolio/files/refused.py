"""The refusal of a file."""

MOST_PROBLEMS = 20
"""The most problems of a file to list; further problems are counted."""


class ImportRefused(Exception):
    """The file is not imported; each problem names its line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems[:MOST_PROBLEMS]))
        self.problems = problems
