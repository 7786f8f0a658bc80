from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands.loaddata import Command as LoadData


class Command(LoadData):
    """Django's loaddata, except for the demo users, whose passwords are public."""

    def find_fixtures(self, fixture_label: str) -> list[Any]:
        found: list[Any] = super().find_fixtures(fixture_label)
        demo = settings.BASE_DIR / "fixtures" / "demo.json"
        if not settings.DEBUG and any(Path(file).resolve() == demo for file, *_ in found):
            raise CommandError(
                f"loaddata {fixture_label}: refused where DJANGO_DEBUG is off; its passwords are public"
            )
        return found
