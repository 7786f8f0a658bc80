"""Resolves the name of the LLM's host, and checks the addresses."""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address

from stockqueue.config.llm_address import Address, LlmServer


class AddressRefused(Exception):
    """The host's name resolves to a forbidden address."""


async def resolve(server: LlmServer, host: str) -> list[Address]:
    """Resolve a host to its addresses. AddressRefused if an address is forbidden; OSError if no address exists.

    The caller has to connect to the checked addresses: a second lookup may give different addresses.
    """
    addresses = await _look_up(host)
    for address in addresses:
        if reason := server.why_not(address):
            raise AddressRefused(f"{host} resolves to a forbidden address: {reason}")
    return addresses


async def _look_up(host: str) -> list[Address]:
    """Look the host up in a detached thread: a hanging name service would outlast every deadline."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def tell(addresses: list[Address] | OSError) -> None:
        if found.done():  # the waiting coroutine is gone
            return
        if isinstance(addresses, OSError):
            found.set_exception(addresses)
        else:
            found.set_result(addresses)

    def look_up() -> None:
        answer: list[Address] | OSError
        try:
            entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answer = list(dict.fromkeys(ip_address(entry[4][0]) for entry in entries))
        except OSError as error:
            answer = error
        except ValueError as error:  # an invalid name
            answer = OSError(str(error))
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, answer)

    threading.Thread(target=look_up, name="llm-host", daemon=True).start()
    return await found
