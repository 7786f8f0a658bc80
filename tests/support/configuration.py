"""The configuration of tests and benchmarks."""

from pathlib import Path
from typing import Any

import yaml

SHIPPED = Path(__file__).parents[2] / "job_processor.yml"


def write_configuration(file: Path, *, log_level: str = "INFO") -> Path:
    """The shipped configuration, with room for the thousands of requests that are sent to a Yahoo of our own.

    Nothing is analysed but what a test or benchmark asks for.
    """
    content = yaml.safe_load(SHIPPED.read_text())
    settings = content["job_processor"]
    settings["stock_jobs"]["data_fetch"]["rate_limit"] = 1_000_000
    settings["integration"]["apis"]["yahoo_finance"]["rate_limit"] = 1_000_000
    settings["stock_jobs"]["analysis"]["at_login"] = []
    settings["logging"]["level"] = content["development"]["job_processor"]["logging"]["level"] = log_level
    file.write_text(yaml.safe_dump(content))
    return file


def with_value(section: Any, path: str, value: Any) -> Any:
    """A copy of a configuration with another value at `path`, such as `queue.backend`. The value is not validated."""
    name, _, rest = path.partition(".")
    return section.model_copy(update={name: with_value(getattr(section, name), rest, value) if rest else value})
