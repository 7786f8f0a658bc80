import os
import signal
from argparse import ArgumentParser
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from operations.local.child_processes import is_listening
from operations.local.process_plan import Deployment, log_file, plan
from operations.local.running import Ended, Happened, last_lines, running, tell_first_answer
from operations.local.samples import SAMPLE, YAHOO, YahooCheck, forget_samples, has_real_prices, write_configuration
from stockqueue.demo_users import refuse_demo_users

READY_WITHIN = 60.0
"""Seconds for the web server to answer."""


class Command(BaseCommand):
    help = "Run the whole system on this machine until Ctrl-C: web, workers, beat, bridge, and missing servers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port of the web server (default: 8000)")

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if is_listening("127.0.0.1", port):
            raise CommandError(
                f"127.0.0.1:{port} is in use: stop the program that listens there, or choose another --port"
            )
        events: SimpleQueue[Happened] = SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _frame: events.put(signal.Signals(number)))
        yahoo = YahooCheck() if _may_use_samples() else None
        self._prepare_database()
        environment = self._choose_prices(yahoo) if yahoo else {}
        if not events.empty():
            return
        deployment = plan(http_port=port, mqtt=settings.MQTT)
        self._say(f"Starting {', '.join([*deployment.servers, *deployment.programs])}. Logs: {log_file('NAME')}")
        with running(deployment, os.environ | deployment.environment | environment, events):
            self._watch(f"http://127.0.0.1:{port}", deployment, events)

    def _prepare_database(self) -> None:
        self._say("Preparing the database")
        call_command("migrate", verbosity=0)
        refuse_demo_users()
        if settings.DEBUG and not User.objects.exists():
            call_command("loaddata", "demo", verbosity=0)
            self._say("Loaded the demo data into the empty database. Log in as demo/demo or admin/admin.")

    def _choose_prices(self, yahoo: YahooCheck) -> dict[str, str]:
        """Fall back to sample prices if Yahoo cannot be reached; returns additions to the environment."""
        problem = yahoo.why_unreachable()
        if not problem:
            if forgotten := forget_samples():
                self._say(f"Deleted the invented prices of {forgotten} stocks, because Yahoo Finance can be reached.")
            return {}
        unreachable = f"Yahoo Finance could not be reached ({problem})"
        if has_real_prices():
            self._say(f"{unreachable}: stored prices are shown until Yahoo answers.")
            return {}
        self._say(f"{unreachable}: prices are invented samples.")
        file = write_configuration(_configuration(), settings.VAR / "job_processor.sample.yml", [SAMPLE])
        return {"STOCKQUEUE_CONFIG": str(file)}

    def _watch(self, site: str, deployment: Deployment, events: "SimpleQueue[Happened]") -> None:
        """Print the address when the web server answers; return at a signal. CommandError if a process ends."""
        tell_first_answer(site, events)
        timeout: float | None = READY_WITHIN
        while True:
            try:
                happened = events.get(timeout=timeout)
            except Empty:
                raise CommandError(
                    f"the web server did not answer within {READY_WITHIN:.0f} s. {_end_of('web')}", returncode=1
                ) from None
            if isinstance(happened, signal.Signals):
                self._say("Stopping: running jobs are finished first. Ctrl-C again ends all at once.")
                return
            if isinstance(happened, Ended):
                raise CommandError(
                    f"{happened.name} ended unexpectedly (exit code {happened.code}). {_end_of(happened.name)}",
                    returncode=1,
                )
            timeout = None
            self._say(f"Messages of jobs: mosquitto_sub -p {settings.MQTT.port} -t 'stock/+/+' -v   Stop: Ctrl-C")
            self._say(f"{site}/")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _may_use_samples() -> bool:
    """Whether Yahoo is the only source of prices, on a machine for development."""
    sources = settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources
    return settings.DEBUG and YAHOO in sources and SAMPLE not in sources and not settings.ALPHA_VANTAGE_API_KEY


def _configuration() -> Path:
    return Path(os.environ.get("STOCKQUEUE_CONFIG") or settings.BASE_DIR / "job_processor.yml")


def _end_of(name: str) -> str:
    return f"The last lines of {log_file(name)}:\n{last_lines(name)}"
