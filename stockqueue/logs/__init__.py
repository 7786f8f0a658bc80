"""The destinations of log lines: the console, a common file, and a file for each component."""

import logging
import os
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from stockqueue.config.monitoring import Logging

COMPONENTS = {
    "portfolio": "portfolio",
    "tasks": "portfolio",
    "operations": "portfolio",
    "console": "portfolio",
    "market": "fetcher",
    "tasks.jobs.fetch": "fetcher",
    "market.analysis.technical.indicators": "analyzer",
    "market.llm": "analyzer",
    "market.jobs.analysis": "analyzer",
    "tasks.jobs.analysis": "analyzer",
    "mqtt_bridge": "mqtt",
}
"""The component of a logger and its children; the longest name counts. Other libraries have no component."""

_CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "httpx2", "httpcore2", "openai")
"""Libraries that log each message, result, scheduled task or request: jobs have their own lines."""
_TAKEN_OVER = ("django", "gunicorn.error")
"""Loggers with their own console handlers, which are replaced by ours."""


class OfComponents(logging.Filter):
    """Passes records of the given components."""

    def __init__(self, components: Collection[str]) -> None:
        super().__init__()
        self._components = frozenset(components)

    def filter(self, record: logging.LogRecord) -> bool:
        return component_of(record.name) in self._components


@lru_cache(maxsize=1_000)
def component_of(logger: str) -> str | None:
    """The component whose log file has the logger's lines."""
    name = logger
    while name:
        if name in COMPONENTS:
            return COMPONENTS[name]
        name = name.rpartition(".")[0]
    return None


def logging_settings(
    config: Logging, var: Path, secrets: Collection[str | None] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Django's LOGGING, and a sentence for each unwritable file. LOGGING omits unwritable files.

    Relative paths are below `var`. `secrets` never appear in a line. Several components may share a file.
    """
    components: dict[Path, list[str] | None] = {}
    for component, path in config.component_logs:
        components.setdefault(var / path, []).append(component)  # type: ignore[union-attr]
    if config.file is not None:
        components[var / config.file] = None
    handlers: dict[str, dict[str, Any]] = {"console": {"class": "logging.StreamHandler", "formatter": "line"}}
    filters, problems = {}, []
    for path, wanted in components.items():
        name = "everything" if wanted is None else "+".join(wanted)
        if problem := _problem_with(path):
            key = "file" if wanted is None else f"component_logs.{wanted[0]}"
            problems.append(f"job_processor.logging.{key}: {str(path)!r} cannot be written ({problem}): console only")
            continue
        handlers[name] = {
            "class": "stockqueue.logs.files.SharedFileHandler",
            "formatter": "line",
            "filename": str(path),
            "max_size": config.max_size,
            "backup_count": config.backup_count,
            "filters": [] if wanted is None else [name],
        }
        if wanted is not None:
            filters[name] = {"()": OfComponents, "components": wanted}
    known = sorted(secret for secret in secrets if secret)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "stockqueue.logs.lines.LineFormatter", "secrets": known}},
        "filters": filters,
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": config.level},
        "loggers": {
            # yfinance logs errors that it also raises.
            "yfinance": {"level": "CRITICAL"},
            # axes logs each login several times, without the user; `operations.security.lockout` logs it once.
            "axes": {"level": "ERROR"},
            **{name: {"level": "WARNING"} for name in _CHATTY if config.level != "DEBUG"},
            **{name: {"handlers": [], "propagate": True} for name in _TAKEN_OVER},
        },
    }, problems


def say_at_least(level: int) -> None:
    """Set the log level to `level`, or to `logging.level` if this setting logs more."""
    root = logging.getLogger()
    root.setLevel(min(root.level, level))
    if level <= logging.DEBUG:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.NOTSET)


def _problem_with(path: Path) -> str | None:
    """The reason why a log file cannot be written or rotated; None: no problem."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except FileExistsError:
        return f"{path.parent} is not a folder"
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        return str(getattr(error, "strerror", error))
    return None if os.access(path.parent, os.W_OK) else f"{path.parent} is read-only, so the file cannot be rotated"
