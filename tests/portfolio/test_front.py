"""The shipped front of nginx: streams arrive at once, uploads fit, and a stopped web server has a page."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from operations.local.child_processes import free_port, wait_until
from portfolio.imports.uploads import LARGEST_UPLOAD
from tasks.models import Job
from tests.support.jobs import new_job
from tests.support.live_stream import WEB_SERVER, Stream, cookie_of
from tests.support.nginx import NginxServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def upstream(start) -> Iterator[str]:
    """The host and port of the shipped web server."""
    address = f"127.0.0.1:{free_port()}"
    with start(*WEB_SERVER, address, ready="listening on"):
        yield address


def answer_of(front: NginxServer, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(front.url).netloc, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_change_reaches_an_open_page_through_nginx(upstream, user, hold):
    (stock,) = hold(user, "AAPL")
    cookie = cookie_of(user)
    Job.objects.all().delete()  # of the login
    with NginxServer(upstream) as front, Stream(front.url, cookie) as stream:
        wait_until(lambda: stream.status == 200, "the stream")
        new_job(stock.symbol)
        assert "AAPL" in stream.wait_for("updating")[-1].data


def test_nginx_passes_the_largest_upload_and_refuses_more_than_any_page_takes(upstream):
    with NginxServer(upstream) as front:
        for size, status in ((LARGEST_UPLOAD, 403), (40_000_000, 413)):  # 403: no CSRF token
            assert answer_of(front, "POST", "/portfolios/import/", b"x" * size)[0] == status


def test_a_stopped_web_server_has_a_page_that_says_so():
    with NginxServer(f"127.0.0.1:{free_port()}") as front:
        status, text = answer_of(front, "GET", "/")
        assert status == 503
        assert "stockqueue is away" in text
