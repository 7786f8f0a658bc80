"""The whole system with a stand-in for Yahoo, for benchmarks that log in."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import psutil
from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from market.models import PriceBar, Stock
from operations.local.child_processes import free_port, is_listening, spawn, stop, wait_until
from operations.local.http_client import Browser
from operations.local.mqtt_subscriber import Subscriber
from operations.local.process_plan import plan
from portfolio.models import Holding, Portfolio
from stockqueue.config.addresses import MqttAddress
from tests.support.live_stream import WEB_SERVER
from tests.support.servers import MosquittoServer
from tests.support.standins.yahoo import YahooStandIn

LATENCY = 0.2
"""Seconds for each answer of Yahoo."""
PASSWORD = "secret"
ROOT = Path(__file__).parents[1]


class Site(NamedTuple):
    """The running system."""

    address: str
    yahoo: YahooStandIn
    subscriber: Subscriber


@contextmanager
def running_site(programs: Sequence[str], topic: str) -> Iterator[Site]:
    """The shipped programs with these names, and a subscriber to the topic."""
    with ExitStack() as stack:
        yahoo = stack.enter_context(YahooStandIn(latency=LATENCY))
        mqtt = stack.enter_context(MosquittoServer())
        address = MqttAddress(mqtt.host, mqtt.port, None, None, tls=False, protocol="5")
        port = free_port()
        commands = plan(http_port=port, mqtt=address).programs
        environment = os.environ | yahoo.environment | {"MQTT_URL": mqtt.url}
        log = stack.enter_context((settings.VAR / "output.log").open("wb"))
        for name in programs:
            process = spawn(commands[name], cwd=ROOT, env=environment, output=log.fileno())
            stack.callback(stop, process)
        workers = sum(name in ("foreground", "background") for name in programs)
        wait_until(lambda: is_listening("127.0.0.1", port), "the web server")
        wait_until(lambda: len(current_app.control.ping(timeout=0.5)) == workers, "the workers", timeout=60)
        subscriber = stack.enter_context(Subscriber(mqtt.host, mqtt.port, topic))
        yield Site(f"http://127.0.0.1:{port}", yahoo, subscriber)


@contextmanager
def web_server(*words: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a web server, and its worker process."""
    with ExitStack() as stack:
        port = free_port()
        log = stack.enter_context((settings.VAR / "web.log").open("ab"))
        command = [sys.executable, *WEB_SERVER, f"127.0.0.1:{port}", *words]
        process = spawn(command, cwd=ROOT, output=log.fileno())
        stack.callback(stop, process)
        wait_until(lambda: is_listening("127.0.0.1", port), "the web server", process=process)
        site = f"http://127.0.0.1:{port}"
        wait_until(lambda: "Log in" in Browser(site).get("/accounts/login/"), "the first page")
        (worker,) = psutil.Process(process.pid).children()
        yield site, worker


def make_stale(prefix: str) -> QuerySet[Stock]:
    """The stocks with this prefix: checked a day ago and without the bar of yesterday, except stocks never checked."""
    stocks = Stock.objects.filter(symbol__startswith=prefix)
    yesterday = timezone.now() - timedelta(days=1)
    PriceBar.objects.filter(stock__in=stocks, date=yesterday.date()).delete()
    stocks.exclude(checked_at=None).update(checked_at=yesterday)
    return stocks


def hold(name: str, stocks: Sequence[Stock]) -> User:
    """A user with holdings of the stocks, the last one the largest."""
    user = User.objects.create_user(name, password=PASSWORD)
    portfolio = Portfolio.objects.create(user=user, name="Main")
    Holding.objects.bulk_create(
        Holding(portfolio=portfolio, stock=stock, shares=1, buy_price=1 + rank) for rank, stock in enumerate(stocks)
    )
    return user
