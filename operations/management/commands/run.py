import contextlib
import os
import shlex
import signal
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from honcho import manager as honcho
from honcho.compat import ProcessManager

from operations.local.child_processes import is_listening, spawn, stop
from operations.local.process_plan import log_file, plan
from stockqueue.demo_users import refuse_demo_users

# Seconds for a worker to finish its running jobs; then the worker is killed.
honcho.KILL_WAIT = 35


class _AskTheParent(ProcessManager):  # type: ignore[misc]
    """Sends SIGTERM to a process and not to its children: a worker finishes the jobs that its children run."""

    def terminate(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


class Command(BaseCommand):
    help = "Run the whole system on this machine until Ctrl-C: web, workers, beat, bridge, and missing servers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port of the web server (default: 8000)")

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if is_listening("127.0.0.1", port):
            raise CommandError(
                f"127.0.0.1:{port} is in use: stop the program that listens there, or choose another --port"
            )
        call_command("migrate", verbosity=0)
        refuse_demo_users()
        if settings.DEBUG and not User.objects.exists():
            call_command("loaddata", "demo", verbosity=0)
            self.stdout.write("Loaded the demo data into the empty database. Log in as demo/demo or admin/admin.")
        deployment = plan(http_port=port, mqtt=settings.MQTT)
        environment = os.environ | deployment.environment
        manager = honcho.Manager()
        manager._procmgr = _AskTheParent()
        for name, argv in deployment.programs.items():
            # Without exec, a shell between us and the program would keep our signals to itself.
            manager.add_process(name, f"exec {shlex.join(argv)}", env=environment)
        self.stdout.write(
            f"http://127.0.0.1:{port}/   mosquitto_sub -p {settings.MQTT.port} -t 'stock/+/+' -v   Ctrl-C to stop"
        )
        with contextlib.ExitStack() as servers:
            for name, argv in deployment.servers.items():
                log = servers.enter_context(log_file(name).open("wb"))
                servers.callback(stop, spawn(argv, env=environment, output=log.fileno()))
            manager.loop()
        if manager.returncode not in (0, 130, 143):
            raise CommandError("a process ended unexpectedly; its last lines are above", returncode=1)
