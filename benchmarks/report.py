"""Figures of a benchmark: a table on the terminal, and a JSON file in the folder that `BENCHMARK_RESULTS` names."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from operations.local.text_table import format_table


@dataclass(frozen=True)
class Spread:
    """Measurements of one thing."""

    median: float
    p95: float
    lowest: float
    highest: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        p95 = statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
        return cls(statistics.median(values), p95, min(values), max(values), len(values))


def publish(name: str, title: str, unit: str, figures: Mapping[str, Spread]) -> None:
    """Print the figures, and keep them for comparison."""
    print(f"\n{title}, in {unit}")
    rows = [
        [label, *(f"{value:.3f}" for value in (one.median, one.p95, one.lowest, one.highest)), one.runs]
        for label, one in figures.items()
    ]
    print(format_table(["", "median", "p95", "lowest", "highest", "runs"], rows), flush=True)
    content = {
        "title": title,
        "unit": unit,
        "python": platform.python_version(),
        "figures": {label: asdict(spread) for label, spread in figures.items()},
    }
    file = Path(os.environ["BENCHMARK_RESULTS"], f"{name}.json")
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
