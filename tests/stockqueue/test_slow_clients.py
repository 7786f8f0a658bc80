"""Clients of the shipped web server that are slow, leave, or send too much: the others do not notice them."""

import asyncio
import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from operations.local.child_processes import free_port
from stockqueue import slow_clients
from stockqueue.slow_clients import IN_MEMORY, LARGEST_BODY, PART, SlowClient, in_parts
from tests.support.live_stream import WEB_SERVER

THREADS = 4
"""`threads` in gunicorn.conf.py."""
LARGE_FILE = "/static/plotly/plotly.min.js"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def site(django_db_setup, django_db_blocker, start):
    """The address of a web server for all tests of this file."""
    address = f"127.0.0.1:{free_port()}"
    with django_db_blocker.unblock(), start(*WEB_SERVER, address, ready="listening on"):
        yield f"http://{address}"


@contextmanager
def connected(site: str, request: bytes) -> Iterator[socket.socket]:
    """A connection with a small buffer that has sent the bytes."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    address = urlsplit(site)
    client.connect((address.hostname, address.port))
    with client:
        client.sendall(request)
        yield client


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def ask(site: str, method: str = "GET", path: str = "/accounts/login/", **more) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=20)
    connection.request(method, path, **more)
    return connection.getresponse()


def test_clients_that_send_no_end_of_their_forms_keep_nobody_waiting(site):
    cookie = ask(site).headers["Set-Cookie"].partition(";")[0]
    form = "Content-Type: application/x-www-form-urlencoded"
    begun = head("POST", "/accounts/login/", f"Cookie: {cookie}", form, "Content-Length: 1000") + b"username="
    with ExitStack() as clients:
        for _ in range(2 * THREADS):
            clients.enter_context(connected(site, begun))
        assert ask(site).status == 200


def test_clients_that_read_no_answers_keep_nobody_waiting(site):
    with ExitStack() as clients:
        for _ in range(2 * THREADS):
            assert clients.enter_context(connected(site, head("GET", LARGE_FILE))).recv(12) == b"HTTP/1.1 200"
        assert ask(site).status == 200


def test_clients_that_leave_in_the_middle_of_an_answer_take_no_thread_along(site):
    for _ in range(2 * THREADS):
        with connected(site, head("GET", LARGE_FILE)) as client:
            assert client.recv(12) == b"HTTP/1.1 200"
    assert ask(site).status == 200


def test_a_slow_client_gets_the_whole_of_a_large_file(site):
    expected = ask(site, path=LARGE_FILE).read()
    with connected(site, head("GET", LARGE_FILE, "Connection: close")) as client:
        time.sleep(0.5)  # a slow client
        with client.makefile("rb") as answer:
            assert answer.read().partition(b"\r\n\r\n")[2] == expected


def test_a_request_that_is_too_large_is_refused_before_it_is_sent(site):
    with connected(site, head("POST", "/accounts/login/", f"Content-Length: {LARGEST_BODY + 1}")) as client:
        answer = client.recv(4_096).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "33,554,432 bytes" in answer


def test_a_request_without_an_announced_length_ends_when_it_is_too_large(site):
    part = b"%x\r\n" % 2**20 + b"x" * 2**20 + b"\r\n"
    begun = head("POST", "/accounts/login/", "Transfer-Encoding: chunked")
    with connected(site, begun) as client, pytest.raises(OSError, match=r"reset|pipe"):
        client.sendall(part * (2 * LARGEST_BODY // 2**20))
    assert ask(site).status == 200


def test_a_form_larger_than_its_place_in_memory_arrives_slowly_and_whole(site):
    cookie = ask(site).headers["Set-Cookie"].partition(";")[0]
    body = (
        f"csrfmiddlewaretoken={cookie.partition('=')[2]}&more={'x' * 2 * IN_MEMORY}&username=nobody&password=".encode()
    )
    headers = [f"Cookie: {cookie}", "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    begun = head("POST", "/accounts/login/", *headers, "Connection: close")
    with connected(site, begun) as client, client.makefile("rb") as answer:
        for start in range(0, len(body), 100_000):
            client.sendall(body[start : start + 100_000])
        text = answer.read().decode()
    assert text.startswith("HTTP/1.1 200 ")
    assert 'value="nobody"' in text


def deliver(send, body: bytes) -> None:
    async def run() -> None:
        await in_parts(send)({"type": "http.response.body", "body": body, "more_body": False})

    asyncio.run(run())


def test_a_long_answer_is_sent_in_parts_of_which_the_last_ends_it():
    sent = []

    async def send(message):
        sent.append((len(message["body"]), message["more_body"]))

    deliver(send, b"x" * (2 * PART + 1))
    assert sent == [(PART, True), (PART, True), (1, False)]


def test_a_client_that_takes_too_long_for_a_part_is_given_up(monkeypatch):
    monkeypatch.setattr(slow_clients, "SLOWEST_PART", 0.01)

    async def never(_message):
        await asyncio.Event().wait()

    with pytest.raises(SlowClient):
        deliver(never, b"x")
