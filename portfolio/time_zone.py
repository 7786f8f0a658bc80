"""Times on the owner's pages are in the owner's time zone."""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import cache, cached_property
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from portfolio.models import Preferences

_REGIONS = {
    *("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"),
}


class OwnersZone(tzinfo):
    """The time zone of a request's user, looked up when the first time is shown. So other pages take no query."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def zone(self) -> ZoneInfo:
        user = self._request.user
        return zone_of(Preferences.of(user).time_zone if isinstance(user, User) else "UTC")

    def fromutc(self, moment: datetime) -> datetime:
        return self.zone.fromutc(moment.replace(tzinfo=self.zone))

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return self.zone.utcoffset(moment)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return self.zone.dst(moment)

    def tzname(self, moment: datetime | None) -> str | None:
        return self.zone.tzname(moment)


class TimeZoneMiddleware:
    """Activates the user's time zone outside the admin, whose times are in UTC."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/admin/"):
            return self._get_response(request)
        with timezone.override(OwnersZone(request)):
            return self._get_response(request)


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name; UTC if the machine does not know it any more."""
    return ZoneInfo(name if name in zones() else "UTC")


@cache
def zones() -> frozenset[str]:
    """The names of the time zones of places, and UTC."""
    return frozenset({"UTC"} | {name for name in available_timezones() if name.partition("/")[0] in _REGIONS})


@cache
def zone_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """The same by region, for a form: `("Europe", [("Europe/Berlin", "Berlin"), …])`."""
    regions: dict[str, list[tuple[str, str]]] = {"UTC": [("UTC", "UTC")]}
    for name in sorted(zones() - {"UTC"}):
        region, _, place = name.partition("/")
        regions.setdefault(region, []).append((name, place.replace("_", " ").replace("/", ", ")))
    return list(regions.items())
