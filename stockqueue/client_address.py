"""The address of a request's client, as the key of counts and limits."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The key for counting requests: an IPv4 address, or the /64 of an IPv6 address, which a single customer owns.

    `X-Forwarded-For` counts only if STOCKQUEUE_PROXIES gives the number of proxies that add to it: any client can send
    the header. None without an address, as on a Unix socket.
    """
    text = request.META.get("REMOTE_ADDR", "")
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if 0 < settings.PROXIES <= len(hops):
        text = hops[-settings.PROXIES].strip()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address.packed, 64), strict=False).network_address)
