import signal
from typing import Any

from django.core.management.base import BaseCommand

from mqtt_bridge.relay import Relay, Stop
from stockqueue.demo_users import refuse_demo_users


class Command(BaseCommand):
    help = "Publish the events of all jobs on MQTT until SIGTERM or Ctrl-C. Messages in flight are finished first."

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_demo_users()
        stop = Stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Relay(stop).run()
