import contextlib
import json
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from market.calendar.sessions import BEHIND
from market.models import Stock
from operations.local.child_processes import free_port, is_listening, spawn, stop, wait_until
from operations.local.http_client import Browser
from operations.local.mqtt_subscriber import Message, Subscriber
from operations.local.process_plan import QUEUES, Deployment, log_file, plan
from operations.local.samples import SAMPLE, YAHOO, YahooCheck, write_configuration
from operations.local.text_table import format_table
from portfolio.holdings import statements
from portfolio.templatetags.display import money
from stockqueue.config.addresses import MQTT_FILES, MqttAddress
from tasks.models import Job

FOLDER = Path("var/demo")
USER = "demo"
# Variables that would lead the demonstration to other servers and data.
FOREIGN = (
    *("DATABASE_URL", "CELERY_BROKER_URL", "STOCKQUEUE_CONFIG", "STOCKQUEUE_ENV"),
    *("MQTT_URL", *(variable for _, variable in MQTT_FILES.values())),
)
ENDS = ("completed", "failed", "expired", "cancelled")
LONGEST_WAIT = 120.0
"""The most seconds for a login's jobs; Yahoo may be slow."""


class Command(BaseCommand):
    help = (
        "Run a demonstration with its own servers and data, then exit: a user logs in, stale stocks are fetched, and "
        "the events arrive over MQTT."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--folder",
            type=Path,
            default=settings.BASE_DIR / FOLDER,
            help=f"folder for the data (default: {FOLDER})",
        )

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        folder = folder.absolute()
        if folder != settings.VAR or any(name in os.environ for name in FOREIGN):
            environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
            environment |= {"STOCKQUEUE_VAR": str(folder), "DJANGO_DEBUG": "1"}
            manage = str(settings.BASE_DIR / "manage.py")
            os.execve(sys.executable, [sys.executable, manage, "demo", "--folder", str(folder)], environment)  # noqa: S606
        self._prepare()
        mqtt = MqttAddress("127.0.0.1", free_port(), None, None, tls=False, protocol="5")
        http_port = free_port()
        deployment = plan(http_port=http_port, mqtt=mqtt)
        sources = self._choose_sources()
        environment = {**deployment.environment, "STOCKQUEUE_CONFIG": str(sources)}
        self._say(f"Starting {', '.join([*deployment.servers, *deployment.programs])} (output: {log_file('NAME')})")
        with (
            _running(deployment, os.environ | environment, mqtt, http_port),
            Subscriber(mqtt.host, mqtt.port, "stock/+/+") as subscriber,
        ):
            browser = Browser(f"http://127.0.0.1:{http_port}")
            self._log_in(browser, subscriber, "everything is stale")
            aged = list(Stock.objects.filter(holdings__portfolio__user__username=USER).order_by("symbol")[:2])
            # Longer than any exchange stays closed, so that stocks are stale on every day of the year.
            Stock.objects.filter(pk__in=[stock.pk for stock in aged]).update(checked_at=timezone.now() - BEHIND)
            self._log_in(
                browser, subscriber, f"{' and '.join(map(str, aged))} were last checked {BEHIND.days} days ago"
            )
            self._log_in(browser, subscriber, "nothing is stale")
            received = subscriber.messages
        self._show_events(received)
        self._show_holdings()
        self._judge(received)

    def _prepare(self) -> None:
        call_command("migrate", verbosity=0)
        call_command("flush", verbosity=0, interactive=False)
        call_command("loaddata", USER, verbosity=0)

    def _choose_sources(self) -> Path:
        """A configuration with Yahoo, if reachable, and the sample data as a fallback."""
        unreachable = YahooCheck().why_unreachable()
        if unreachable:
            self._say(f"Yahoo Finance could not be reached ({unreachable}): the prices below are invented samples.")
        sources = [SAMPLE] if unreachable else [YAHOO, SAMPLE]
        original = settings.BASE_DIR / "job_processor.yml"
        return write_configuration(original, settings.VAR / "job_processor.yml", sources)

    def _log_in(self, browser: Browser, subscriber: Subscriber, situation: str) -> None:
        before = set(Job.objects.values_list("pk", flat=True))
        began = time.monotonic()
        browser.log_in(USER, USER)
        answered = time.monotonic() - began
        jobs = {str(pk) for pk in Job.objects.exclude(pk__in=before).values_list("pk", flat=True)}
        in_time = subscriber.wait_for(lambda messages: jobs <= _ended(messages), LONGEST_WAIT)
        took = time.monotonic() - began
        symbols = ", ".join(Job.objects.filter(pk__in=jobs).order_by("started_at").values_list("symbol", flat=True))
        self._say(
            f"Login ({situation}): page after {answered:.2f} s; "
            + (f"fetched {symbols}, the last after {took:.2f} s" if jobs else "no job")
        )
        if not in_time:
            raise CommandError(
                f"{len(jobs - _ended(subscriber.messages))} jobs have not ended within {LONGEST_WAIT:.0f} s"
            )

    def _show_events(self, received: list[Message]) -> None:
        self._say(f"\n{len(received)} messages that a subscriber to stock/+/+ received:")
        rows = []
        for message in received:
            payload = json.loads(message.payload)
            detail = payload.get("error", "")
            if result := payload.get("result"):
                detail = f"{result['records_stored']} of {result['days_fetched']} bars stored, from {result['source']}"
            rows.append([message.topic, payload["event"], payload["trigger"], payload["priority"], detail])
        self._say(format_table(["topic", "event", "trigger", "priority", ""], rows))

    def _show_holdings(self) -> None:
        self._say("\nWhat the user sees now:")
        rows = [
            [
                position.stock.symbol,
                f"{position.shares.normalize():f}",
                "" if position.price is None else money(position.price, position.stock.currency),
                "" if position.value is None else money(position.value, position.stock.currency),
                position.badge.text,
                position.price_date,
                position.stock.source or position.error,
            ]
            for statement in statements(User.objects.get(username=USER))
            for position in statement.positions
        ]
        self._say(format_table(["stock", "shares", "price", "value", "", "close of", "source"], rows))

    def _judge(self, received: list[Message]) -> None:
        jobs = Job.objects.all()
        failed = [f"{job.symbol}: {job.error}" for job in jobs if job.status != Job.Status.COMPLETED]
        missing = {str(job.pk) for job in jobs} - _ended(received)
        if failed or missing:
            raise CommandError(
                "; ".join([*failed, *(f"job {job_id}: its last event did not arrive" for job_id in missing)])
            )
        self._say(f"\nAll {len(jobs)} jobs are completed, and all their events arrived. Next: make run")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _ended(messages: list[Message]) -> set[str]:
    """The ids of the jobs whose last event is among the messages."""
    payloads = (json.loads(message.payload) for message in messages)
    return {payload["job_id"] for payload in payloads if payload["event"] in ENDS}


@contextlib.contextmanager
def _running(deployment: Deployment, environment: dict[str, str], mqtt: MqttAddress, http_port: int) -> Iterator[None]:
    """Run all processes, from the last port's first answer until the block ends."""
    ports = {"mqtt": mqtt.port, "web": http_port}
    with contextlib.ExitStack() as started:
        processes = {}
        for name, argv in [*deployment.servers.items(), *deployment.programs.items()]:
            output = started.enter_context(log_file(name).open("wb"))
            processes[name] = spawn(argv, env=environment, cwd=settings.BASE_DIR, output=output.fileno())
            started.callback(stop, processes[name])
        for name, port in ports.items():
            wait_until(
                lambda port=port: is_listening("127.0.0.1", port),  # type: ignore[misc]
                f"{name} (see {log_file(name)})",
                process=processes[name],
            )
        wait_until(
            lambda: len(current_app.control.ping(timeout=0.5, limit=len(QUEUES))) == len(QUEUES),
            f"workers (see {log_file('foreground')})",
            process=processes["foreground"],
            timeout=60,
        )
        yield
