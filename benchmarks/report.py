"""Figures of a benchmark: a table on the terminal, and a JSON file in `benchmarks/results/`."""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from operations.tables import format_table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Spread:
    """Measurements of one thing."""

    median: float
    fastest: float
    slowest: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values), len(values))


def publish(name: str, title: str, unit: str, figures: Mapping[str, Spread]) -> None:
    """Print the figures, and keep them for comparison."""
    print(f"\n{title}, in {unit}")
    rows = [
        [label, *(f"{value:.3f}" for value in (spread.median, spread.fastest, spread.slowest)), spread.runs]
        for label, spread in figures.items()
    ]
    print(format_table(["", "median", "best", "worst", "runs"], rows))
    RESULTS.mkdir(exist_ok=True)
    content = {
        "title": title,
        "unit": unit,
        "python": platform.python_version(),
        "figures": {label: asdict(spread) for label, spread in figures.items()},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
