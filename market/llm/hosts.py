"""Resolves the name of the LLM's host, and judges what it stands for."""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address

from stockqueue.config.llm_address import Address, LlmServer


class AddressRefused(Exception):
    """The name stands for an address that must not be asked."""


async def resolve(server: LlmServer, host: str) -> list[Address]:
    """The addresses of a host, all of which may be asked. AddressRefused where one may not; OSError where it has none.

    What was judged has to be what is connected to: asked a second time, a name may stand for something else.
    """
    addresses = await _look_up(host)
    for address in addresses:
        if reason := server.why_not(address):
            raise AddressRefused(f"{host} stands for an address that is not asked: {reason}")
    return addresses


async def _look_up(host: str) -> list[Address]:
    """In a thread that nobody waits for: a name service that hangs would outlast every deadline."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def tell(addresses: list[Address] | OSError) -> None:
        if found.done():  # whoever waited has gone
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
        except ValueError as error:  # a name that cannot be one
            answer = OSError(str(error))
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, answer)

    threading.Thread(target=look_up, name="llm-host", daemon=True).start()
    return await found
