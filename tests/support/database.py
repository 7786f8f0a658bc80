"""pytest plugin: which database the tests use, and nothing of the developer's own.

Loaded by `-p tests.support.database`, so that it acts before pytest-django reads the settings.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.configuration import write_configuration
from tests.support.servers import PostgresServer

# Everything that leads the product to a server, a secret or a file of its user.
_AMBIENT = (
    *("ALPHA_VANTAGE_", "CELERY_", "DATABASE_URL", "DEFAULT_FROM_EMAIL", "DJANGO_", "EMAIL_URL"),
    *("MQTT_", "OPENAI_", "STOCKQUEUE_", "YAHOO_"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the database of the tests: a SQLite file (default), or a PostgreSQL server for this run",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Point the environment at a new folder and database. pytest-django's hook of this name comes later."""
    for name in [name for name in os.environ if name.startswith(_AMBIENT)]:
        del os.environ[name]

    resources = ExitStack()
    early_config.add_cleanup(resources.close)
    folder = Path(tempfile.mkdtemp(prefix="stockqueue-tests-"))
    resources.callback(shutil.rmtree, folder, ignore_errors=True)
    var = folder / "var"
    var.mkdir()
    os.environ["STOCKQUEUE_ENV"] = "development"
    os.environ["STOCKQUEUE_VAR"] = str(var)
    os.environ["STOCKQUEUE_CONFIG"] = str(write_configuration(folder / "job_processor.yml"))
    if early_config.known_args_namespace.database == "postgresql":
        # How it plans must not depend on what other tests had in a table when its statistics were taken.
        os.environ["DATABASE_URL"] = resources.enter_context(PostgresServer(autovacuum="off")).url
    else:
        os.environ["DATABASE_URL"] = f"sqlite:///{var / 'db.sqlite3'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what touches no database to the run on SQLite: it would say the same again."""
    if config.getoption("database") == "sqlite":
        return
    kept = [item for item in items if _touches_database(item)]
    if kept:  # one file of them alone is meant to run
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _touches_database(item: pytest.Item) -> bool:
    return item.get_closest_marker("django_db") is not None or "django_db_setup" in getattr(item, "fixturenames", ())


def pytest_report_header(config: pytest.Config) -> str:
    return f"database: {config.getoption('database')}"
