"""Fixtures that several test files share: people with holdings, a stand-in for Yahoo, servers, processes."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import current_app
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string
from kombu import pools

from market.models import Stock
from market.sources import configured_sources
from operations.local.child_processes import spawn, stop, wait_until
from operations.local.mqtt_subscriber import Subscriber
from portfolio.models import Holding, Portfolio
from stockqueue import cache
from stockqueue.config import load_config
from stockqueue.config.addresses import MqttAddress
from stockqueue.config.llm_address import LlmServer
from stockqueue.settings import PASSWORD_HASHERS
from tasks.delivery import broker as celery_broker
from tasks.delivery import direct
from tasks.models import Job
from tasks.running import execute
from tasks.upkeep import sweeper
from tests.support import restored_database
from tests.support.configuration import with_value
from tests.support.previous_release import PreviousRelease
from tests.support.rabbit import RabbitServer
from tests.support.sentiment_jobs import BAD_TITLES
from tests.support.servers import MosquittoServer, RedisServer
from tests.support.standins.openai_standin import KEY, MODEL, OpenAIStandIn
from tests.support.standins.yahoo import ANY_SYMBOL, YahooStandIn, daily_bars
from tests.support.standins.yahoo_news import article
from tests.support.standins.yahoo_summary import Modules, summary

ROOT = Path(__file__).parents[1]
# The settings restricted it. Servers that run as users of their own read what tests write for them.
os.umask(0o022)
_numbers = itertools.count(1)
_PROGRAMS = {
    *("start", "redis_server", "redis_without_workers", "new_redis"),
    *("rabbit_server", "new_rabbit", "mosquitto_server", "new_mosquitto"),
}
"""The fixtures that start programs."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a browser or a server, so that a run can leave them out.

    Such a test is run once more if it fails: on a busy machine, a program may start or answer too late.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "chromium" in fixtures:
            item.add_marker("browser")
        if fixtures & _PROGRAMS:
            item.add_marker("servers")
        if "chromium" in fixtures or fixtures & _PROGRAMS:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """The test database; transactional tests leave it as the migrations do."""
    with django_db_blocker.unblock():
        restored_database.remember()


@pytest.fixture(autouse=True)
def quick_logins(settings: Any) -> None:
    """The real hash takes a quarter of a second for each user and login; so does a list of all static files."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_AUTOREFRESH = True  # looks for a file when the file is asked for


@pytest.fixture
def real_hashes(quick_logins: None, settings: Any) -> None:
    """Passwords are stored as the web server stores them."""
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Nothing is cached by earlier tests, and no cache is left alone because it failed in an earlier test."""
    cache._known.clear()
    caches["default"].clear()


@pytest.fixture(autouse=True)
def no_direct_processing() -> Iterator[None]:
    """Jobs that no broker takes wait, unless a test asks for `direct_processing`."""
    direct.configure(None, None)
    celery_broker.breaker.succeed()
    yield
    direct.configure(None, None)


@pytest.fixture
def direct_processing(transactional_db: None, no_direct_processing: None) -> Iterator[None]:
    """This process does jobs itself where no broker takes them, as a web server does."""
    direct.configure(execute.run_job, sweeper.sweep)
    yield
    direct.configure(None, None)
    assert direct.wait_until_idle(30)


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user(f"user{next(_numbers)}", password="secret")


@pytest.fixture
def hold() -> Callable[..., list[Stock]]:
    """hold(user, "AAPL", "MSFT"): a portfolio that holds these, the first one the largest."""

    def hold(user: User, *symbols: str) -> list[Stock]:
        portfolio, _ = Portfolio.objects.get_or_create(user=user, name="Main")
        stocks = [Stock.objects.get_or_create(symbol=symbol)[0] for symbol in symbols]
        for rank, stock in enumerate(stocks):
            Holding.objects.create(
                portfolio=portfolio, stock=stock, shares=Decimal(10), buy_price=Decimal(len(stocks) - rank)
            )
        return stocks

    return hold


@pytest.fixture(scope="session")
def yahoo_server() -> Iterator[YahooStandIn]:
    with YahooStandIn() as stand_in:
        yield stand_in


@dataclass
class Yahoo:
    """The stand-in, as one test uses it: what it serves and how it fails is forgotten afterwards."""

    server: YahooStandIn
    touched: list[str] = field(default_factory=list)
    seen_before: int = 0

    def serve(self, *symbols: str, days: int = 25, **listing: Any) -> None:
        """`days` daily bars of each symbol. A first fetch asks for 30 days: on any day, at least 20 bars."""
        for symbol in symbols:
            self.touched.append(symbol)
            self.server.serve(symbol, daily_bars(symbol, days), **listing)

    def serve_news(self, symbol: str, *articles: Mapping[str, Any]) -> None:
        self.touched.append(symbol)
        self.server.serve_news(symbol, articles)

    def serve_fundamentals(self, symbol: str, modules: Modules | None = None) -> None:
        """A sound company's, where no others are given."""
        self.touched.append(symbol)
        self.server.serve_fundamentals(symbol, summary() if modules is None else modules)

    def misbehave(self, how: str, symbol: str = ANY_SYMBOL, **options: Any) -> None:
        self.touched.append(symbol)
        self.server.misbehave(symbol, how, **options)

    def asked_for(self) -> list[str]:
        """The symbols that charts were asked for in this test, in order, each once."""
        asked = (request.symbol or "" for request in self.server.chart_requests()[self.seen_before :])
        return list(dict.fromkeys(asked))


@pytest.fixture
def yahoo(yahoo_server: YahooStandIn, settings: Any) -> Iterator[Yahoo]:
    """Yahoo for this process, and for the workers that fixtures start."""
    settings.YAHOO_PROXY = yahoo_server.proxy_url
    settings.YAHOO_CA_BUNDLE = str(yahoo_server.ca_bundle)
    configured_sources.cache_clear()
    used = Yahoo(yahoo_server, seen_before=len(yahoo_server.chart_requests()))
    yield used
    for symbol in used.touched:
        yahoo_server.behave(symbol)
        yahoo_server.forget(symbol)
    yahoo_server.latency = 0.0
    yahoo_server.release()
    configured_sources.cache_clear()


@pytest.fixture
def without_crumb(yahoo: Yahoo, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """yfinance has neither a cookie nor a crumb, as in the first process of a machine."""
    (settings.VAR / "yfinance" / "crumb.json").unlink(missing_ok=True)
    data = import_string("yfinance.data.YfData")
    monkeypatch.setattr(data, "_load_cookie_curlCffi", lambda _self: False)
    for name, value in {"_cookie": None, "_crumb": None, "_cookie_strategy": "basic"}.items():
        monkeypatch.setattr(data(), name, value)


@pytest.fixture(scope="session")
def llm_server() -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn() as server:
        yield server


@pytest.fixture
def llm(llm_server: OpenAIStandIn, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIStandIn]:
    """An LLM for this process: a server on this machine that may be asked. It is not waited for between attempts."""
    monkeypatch.setattr("market.llm.client.RETRY_PAUSE", 0.0)
    settings.LLM = LlmServer(llm_server.url, MODEL, KEY, allow_private=True)
    yield llm_server
    llm_server.behave()


@pytest.fixture
def in_the_news(yahoo: Yahoo, db: None) -> Stock:
    """A stock with two bad headlines, and prices that were checked just now."""
    yahoo.serve_news("AAPL", *(article(title, hours=number + 1) for number, title in enumerate(BAD_TITLES)))
    return Stock.objects.create(symbol="AAPL", exchange="CCC", source="yahoo_finance", checked_at=timezone.now())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def redis_without_workers() -> Iterator[RedisServer]:
    """What a file sends to it stays there. A worker of other tests takes jobs from `redis_server`."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def new_redis() -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    with RedisServer(persistent=True) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    with RabbitServer() as server:
        yield server


@pytest.fixture
def empty_rabbit(rabbit_server: RabbitServer) -> Iterator[RabbitServer]:
    """The same with nothing in it. The test may pause and stop it, and no worker of others takes jobs from it."""
    rabbit_server.empty(Job.Queue.values)
    yield rabbit_server
    rabbit_server.resume()
    if not rabbit_server.is_running:
        rabbit_server.start()


@pytest.fixture
def new_rabbit() -> Iterator[RabbitServer]:
    """A RabbitMQ of the test's own."""
    with RabbitServer() as server:
        yield server


@pytest.fixture(scope="session")
def mosquitto_server() -> Iterator[MosquittoServer]:
    with MosquittoServer() as server:
        yield server


@pytest.fixture
def new_mosquitto() -> Iterator[MosquittoServer]:
    """A mosquitto that the test may stop."""
    with MosquittoServer() as server:
        yield server


@pytest.fixture
def configuration_file(tmp_path: Path) -> Callable[..., Path]:
    """configuration_file(**{"worker.heartbeat_interval": 1}): the tests' job_processor.yml with other values.

    For programs that are started with its path as STOCKQUEUE_CONFIG.
    """

    def configuration_file(**values: Any) -> Path:
        content = yaml.safe_load(Path(os.environ["STOCKQUEUE_CONFIG"]).read_text())
        for path, value in values.items():
            *sections, key = path.split(".")
            section = content["job_processor"]
            for name in sections:
                section = section[name]
            section[key] = value
        file = tmp_path / f"job_processor{next(_numbers)}.yml"
        file.write_text(yaml.safe_dump(content))
        return file

    return configuration_file


@pytest.fixture
def configured(configuration_file: Callable[..., Path], settings: Any) -> Callable[..., Path]:
    """configured(**values): like `configuration_file`, and this process has these settings too."""

    def configured(**values: Any) -> Path:
        file = configuration_file(**values)
        settings.JOB_PROCESSOR = load_config(file, settings.ENVIRONMENT)
        return file

    return configured


@pytest.fixture
def configure(settings: Any) -> Iterator[Callable[..., None]]:
    """configure(**{"queue.backend": "direct"}): other settings for this process alone, without a file."""

    def configure(**values: Any) -> None:
        for path, value in values.items():
            settings.JOB_PROCESSOR = with_value(settings.JOB_PROCESSOR, path, value)
        configured_sources.cache_clear()

    yield configure
    configured_sources.cache_clear()


@pytest.fixture
def point_to() -> Iterator[Callable[[str], None]]:
    """point_to(url): publish this process's jobs there. Without it, nothing answers at the broker's address."""

    def point_to(url: str) -> None:
        current_app.conf.broker_url = url
        # Connections that another test opened, perhaps to a server that is no more; Celery keeps the pools as well.
        pools.reset()
        current_app._after_fork()
        celery_broker._connection.cache_clear()
        celery_broker.breaker.succeed()

    before = current_app.conf.broker_url
    yield point_to
    point_to(before)


@pytest.fixture
def broker(redis_server: RedisServer, point_to: Callable[[str], None]) -> RedisServer:
    """The Redis that `worker` takes its jobs from."""
    point_to(redis_server.url)
    return redis_server


@pytest.fixture
def subscribe() -> Callable[..., Subscriber]:
    """subscribe(server): a subscriber to `stock/+/+`, or to another filter, as a context manager."""

    def subscribe(server: MosquittoServer, topic_filter: str = "stock/+/+") -> Subscriber:
        return Subscriber(server.host, server.port, topic_filter)

    return subscribe


def database_url() -> str:
    """The test database, for programs that the tests start."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    return f"postgres://{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}/{found['NAME']}"


Start = Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """start("celery", …, ready="text in its output", **environment): a program of ours on the test database.

    `output_of` tells what it has said so far. `release` is a release other than this one.
    """

    @contextmanager
    def start(
        *words: str, ready: str, release: PreviousRelease | None = None, **environment: str
    ) -> Iterator["subprocess.Popen[bytes]"]:
        log = tmp_path_factory.mktemp("process") / "output.log"
        with log.open("wb") as output:
            process = spawn(
                [release.python if release else sys.executable, *words],
                cwd=release.root if release else ROOT,
                env=os.environ | {"DATABASE_URL": database_url(), "PYTHONUNBUFFERED": "1"} | environment,
                output=output.fileno(),
            )
        process.log = log  # type: ignore[attr-defined]
        try:
            wait_until(lambda: ready in log.read_text(), f"{words}: {ready!r} in {log}", process=process, timeout=60)
            yield process
        finally:
            stop(process)
            print(f"{' '.join(words)}:\n{log.read_text()}")

    return start


def output_of(process: "subprocess.Popen[bytes]") -> str:
    """What a program that `start` began has said so far."""
    log: Path = process.log  # type: ignore[attr-defined]
    return log.read_text(errors="replace")


WORKER = ("-m", "celery", "-A", "stockqueue", "worker", "-Q", "foreground", "-c", "2", "--loglevel", "INFO")
BRIDGE = ("manage.py", "run_mqtt_bridge")


@pytest.fixture(scope="session")
def worker(
    django_db_setup: None, redis_server: RedisServer, yahoo_server: YahooStandIn, start: Start, django_db_blocker: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    """The shipped worker on `foreground`, on the test database, the test Redis and the stand-in for Yahoo."""
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=redis_server.url, **yahoo_server.environment) as process:
        yield process


@pytest.fixture
def mqtt(mosquitto_server: MosquittoServer, settings: Any) -> MosquittoServer:
    """A mosquitto for a relay in this process."""
    settings.MQTT = mqtt_address(mosquitto_server)
    return mosquitto_server


def mqtt_address(server: MosquittoServer) -> MqttAddress:
    return MqttAddress(server.host, server.port, None, None, tls=False, protocol="5")
