from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands.loaddata import Command as LoadData


class Command(LoadData):
    """Django's loaddata, but for the demo users, whose passwords everybody knows."""

    def handle(self, *fixture_labels: str, **options: Any) -> None:
        if "demo" in fixture_labels and not settings.DEBUG:
            raise CommandError("loaddata demo: refused where DJANGO_DEBUG is off; its passwords are public")
        super().handle(*fixture_labels, **options)
