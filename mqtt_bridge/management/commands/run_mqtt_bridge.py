import signal
from typing import Any

from django.core.management.base import BaseCommand

from mqtt_bridge.relay import Relay, Stop
from stockqueue.demo_users import refuse_demo_users


class Command(BaseCommand):
    help = "Publish every job's lifecycle on MQTT until SIGTERM or Ctrl-C; the window under way is finished first."

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_demo_users()
        stop = Stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Relay(stop).run()
