import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from mqtt_bridge.relay import Relay

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Command(BaseCommand):
    help = "Publish every job's lifecycle on MQTT until SIGTERM or Ctrl-C; the window under way is finished first."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def wait_for_signal() -> None:
            signal.sigwait(_SIGNALS)
            stop.set()

        # No signal handler: it would run within the relay's own `stop.wait()`, whose lock `stop.set()` needs.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=wait_for_signal, daemon=True).start()
        Relay(stop).run()
