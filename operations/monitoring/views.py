"""Pages for programs: metrics and health."""

import ipaddress
import logging
import secrets

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from operations.monitoring import health
from operations.monitoring.metrics import as_json, as_text

logger = logging.getLogger(__name__)

FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
"""Headers that reveal a proxy; behind a proxy, every client looks like a local client."""
HOW = (
    "Metrics are available to programs on this machine, and to requests with the header "
    '"Authorization: Bearer …" and the STOCKQUEUE_METRICS_TOKEN of the web server.\n'
)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, as `monitoring.format` says; 403 for strangers, 503 while the database is away."""
    monitoring = settings.JOB_PROCESSOR.monitoring
    if not monitoring.enabled:
        raise Http404("monitoring.enabled is false")
    if not (_is_local(request) or _has_token(request)):
        return _text(HOW, 403)
    if (database := health.database()) != health.OK:
        return _text(f"The database {database}.\n", 503)
    try:
        if monitoring.format == "json":
            return JsonResponse(as_json())
        return HttpResponse(as_text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    except (InterfaceError, OperationalError) as error:
        logger.warning("metrics: %s", str(error).partition("\n")[0])
        return _text(f"The database {health.SILENT}.\n", 503)


@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Whether the process itself answers, without any other check."""
    _check_health_is_wanted()
    return JsonResponse({"status": health.OK, "checks": {}})


@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Whether users can be served: 200, or 503."""
    _check_health_is_wanted()
    readiness = health.readiness()
    body = {"status": readiness.status, "checks": readiness.checks}
    return JsonResponse(body, status=503 if readiness.status == health.UNAVAILABLE else 200)


def _check_health_is_wanted() -> None:
    if not settings.JOB_PROCESSOR.monitoring.health_check_enabled:
        raise Http404("monitoring.health_check_enabled is false")


def _is_local(request: HttpRequest) -> bool:
    """Whether a request comes from the same machine, and not through a proxy on it."""
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:  # a Unix socket has no address, and belongs to a proxy
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _has_token(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN is None:
        return False
    given = request.headers.get("Authorization", "")
    return secrets.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode())


def _text(words: str, status: int) -> HttpResponse:
    return HttpResponse(words, status=status, content_type="text/plain; charset=utf-8")
