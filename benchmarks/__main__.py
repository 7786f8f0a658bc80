"""Runs benchmarks on SQLite and on PostgreSQL: `make bench`, or `python -m benchmarks login --runs 5`.

Each runs in a process of its own, with new servers and a new database. Options that this program does not know are
passed on to the benchmark.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.support.configuration import write_configuration
from tests.support.rabbit import RabbitServer
from tests.support.servers import PostgresServer, RedisServer, Server

NAMES = (
    "login",
    "scarce",
    "dispatch",
    "cohorts",
    "fetch",
    "repair",
    "store",
    "week",
    "bridge",
    "analysis",
    "operations",
    "cache",
    "live",
    "page",
    "imports",
)
DATABASES = ("sqlite", "postgresql")
ON_RABBITMQ = ("dispatch",)
"""Run once more on PostgreSQL and RabbitMQ."""
ON_ONE = {"week": "sqlite", "operations": "postgresql"}
"""Run on one database alone: it makes no difference to what `week` counts, and nobody has a million jobs in SQLite."""
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(NAMES)}")
    parser.add_argument("--database", choices=DATABASES, help="leave out the other one")
    parser.add_argument("--smallest", action="store_true", help="only show that the benchmarks work, in little time")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="write a JSON file for each table there (default: benchmarks/results, smallest/ in it with --smallest)",
    )
    arguments, options = parser.parse_known_args()
    if unknown := [name for name in arguments.names if name not in NAMES]:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    if arguments.smallest:
        options.append("--smallest")
    results = arguments.results or (RESULTS / "smallest" if arguments.smallest else RESULTS)
    results.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or NAMES:
        for database, broker in servers(name):
            if arguments.database in (None, database):
                run(name, database, broker, results, options)


def servers(name: str) -> Iterator[tuple[str, Server]]:
    """The databases and brokers that a benchmark runs on."""
    for database in DATABASES:
        if ON_ONE.get(name, database) == database:
            yield database, RedisServer(persistent=True)
    if name in ON_RABBITMQ:
        yield "postgresql", RabbitServer()


def run(name: str, database: str, broker: Server, results: Path, options: list[str]) -> None:
    """One benchmark on one database and broker, with the log level of production; ends this program where it fails."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stockqueue-bench-")))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "STOCKQUEUE_"))},
            "STOCKQUEUE_VAR": str(folder),
            "STOCKQUEUE_CONFIG": str(write_configuration(folder / "job_processor.yml", log_level="WARNING")),
            "CELERY_BROKER_URL": stack.enter_context(broker).url,
            "DJANGO_SETTINGS_MODULE": "stockqueue.settings",
            "BENCHMARK_RESULTS": str(results.resolve()),
        }
        environment.pop("DATABASE_URL", None)
        if database == "postgresql":
            environment["DATABASE_URL"] = stack.enter_context(PostgresServer()).url
        ended = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], env=environment, check=False)
    if ended.returncode:
        sys.exit(f"benchmarks.{name} on {database} failed with exit code {ended.returncode}")


if __name__ == "__main__":
    main()
