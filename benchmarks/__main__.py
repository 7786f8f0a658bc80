"""Runs benchmarks on SQLite and on PostgreSQL: `make bench`, or `python -m benchmarks login --runs 5`.

Each runs in a process of its own, with new servers and a new database; what this program does not know it is given.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.configuration import write_configuration
from tests.rabbit import RabbitServer
from tests.servers import PostgresServer, RedisServer, Server

NAMES = ("login", "dispatch", "fetch", "store", "week", "bridge", "analysis", "operations")
DATABASES = ("sqlite", "postgresql")
ON_RABBITMQ = ("dispatch",)
"""Run once more on PostgreSQL and RabbitMQ."""
ON_ONE = {"week": "sqlite", "operations": "postgresql"}
"""Run on one database alone: it makes no difference to what `week` counts, and nobody has a million jobs in SQLite."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(NAMES)}")
    arguments, options = parser.parse_known_args()
    if unknown := [name for name in arguments.names if name not in NAMES]:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        for database in (ON_ONE[name],) if name in ON_ONE else DATABASES:
            run(name, database, RedisServer(persistent=True), options)
        if name in ON_RABBITMQ:
            run(name, "postgresql", RabbitServer(), options)


def run(name: str, database: str, broker: Server, options: list[str]) -> None:
    """One benchmark on one database and broker, with the log level of production; ends this program where it fails."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stockqueue-bench-")))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("DJANGO_", "STOCKQUEUE_"))},
            "STOCKQUEUE_VAR": str(folder),
            "STOCKQUEUE_CONFIG": str(write_configuration(folder / "job_processor.yml", log_level="WARNING")),
            "CELERY_BROKER_URL": stack.enter_context(broker).url,
            "DJANGO_SETTINGS_MODULE": "stockqueue.settings",
        }
        environment.pop("DATABASE_URL", None)
        if database == "postgresql":
            environment["DATABASE_URL"] = stack.enter_context(PostgresServer()).url
        ended = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], env=environment, check=False)
    if ended.returncode:
        sys.exit(f"benchmarks.{name} on {database} failed with exit code {ended.returncode}")


if __name__ == "__main__":
    main()
