import os
import shlex
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from honcho.manager import Manager

from operations.deployment import plan
from stockqueue.processes import is_listening


class Command(BaseCommand):
    help = "Run the whole system on this machine until Ctrl-C: web, workers, beat, bridge, and what servers it lacks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="where the pages are served (default: 8000)")

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if is_listening("127.0.0.1", port):
            raise CommandError(f"127.0.0.1:{port} is taken: stop what listens there, or choose another --port")
        call_command("migrate", verbosity=0)
        if settings.DEBUG and not User.objects.exists():
            call_command("loaddata", "demo", verbosity=0)
            self.stdout.write("The database was empty: it has the demo data now. Log in as demo/demo or admin/admin.")
        deployment = plan(http_port=port, mqtt=settings.MQTT)
        manager = Manager()
        for name, argv in deployment.commands.items():
            # Without exec, a shell would stay between us and the process, and keep our signals to itself.
            manager.add_process(name, f"exec {shlex.join(argv)}", env=os.environ | deployment.environment)
        self.stdout.write(
            f"http://127.0.0.1:{port}/   mosquitto_sub -p {settings.MQTT.port} -t 'stock/+/+' -v   Ctrl-C ends it"
        )
        manager.loop()
        if manager.returncode not in (0, 130, 143):
            raise CommandError("a process ended by itself; its last lines are above", returncode=1)
