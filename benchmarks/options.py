"""The command line of a benchmark."""

import argparse
from typing import Any


class Options(argparse.ArgumentParser):
    """Options of which some are sizes: each has a default, and a smallest value for `--smallest`."""

    def __init__(self, name: str, description: str | None) -> None:
        super().__init__(prog=f"python -m benchmarks {name}", description=description)
        self.add_argument("--smallest", action="store_true", help="the smallest value of each size that is not given")
        self._smallest: dict[str, Any] = {}

    def add_size(self, name: str, what: str, default: int, smallest: int) -> None:
        self.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default:,})")
        self._smallest[name] = smallest

    def add_sizes(self, name: str, what: str, default: list[int], smallest: list[int]) -> None:
        """A size of which one run has several."""
        shown = " ".join(map(str, default))
        self.add_argument(f"--{name}", type=int, nargs="+", default=default, help=f"{what} (default: {shown})")
        self._smallest[name] = smallest

    def parse(self) -> argparse.Namespace:
        if self.parse_args().smallest:
            self.set_defaults(**self._smallest)
        return self.parse_args()
