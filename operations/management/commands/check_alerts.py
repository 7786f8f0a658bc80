import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from operations.local.text_table import format_table
from operations.models import Alert
from operations.monitoring import alert_delivery, alerts
from tasks.management.jobs import ShellCommand

_FIELDS = ("name", "state", "text", "value", "worst", "threshold", "since", "raised_at", "acknowledged_at")


class Command(ShellCommand):
    help = (
        "Check all alert rules once: raise and clear alerts, mail the changes, and show the open alerts. Exit code 1 "
        "if an alert is raised. An alert is raised after a minute out of bounds. Beat and the bridge also check "
        "regularly."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the open alerts as a JSON list")

    def handle(self, *args: Any, **options: Any) -> None:
        alerts.check()
        alert_delivery.mail_news()
        found = list(Alert.objects.filter(cleared_at=None).values(*_FIELDS))
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2, cls=DjangoJSONEncoder))
        elif found:
            rows = [[one["name"], one["state"], f"{one['since']:%Y-%m-%d %H:%M:%S}", one["text"]] for one in found]
            self.stdout.write(format_table(["alert", "state", "since (UTC)", ""], rows))
        else:
            self.stdout.write("No open alerts.")
        if any(one["state"] == Alert.State.RAISED for one in found):
            sys.exit(1)
