"""The stream of a page: the changes of the user's stocks, and nothing else."""

import http.client
import signal
import socket
import time
from collections.abc import Collection
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import free_port, wait_until
from portfolio.live import listener
from portfolio.live.changes import NewEvents, shown_symbols
from portfolio.live.fragments import Parts, parts
from portfolio.live.pages import PAGES_OF_A_USER, OpenPage, OpenPages
from portfolio.live.sessions import logged_in
from portfolio.models import Holding, Portfolio, PriceAlertNotice
from portfolio.price_alerts.setting import set_alert
from tasks.models import Job, JobEvent
from tests.support.jobs import new_job, run_once
from tests.support.live_stream import WEB_SERVER, Stream, cookie_of
from tests.support.prices import store_closes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web_server(transactional_db, start):
    """The shipped web server on the test database: the process, with its `address`."""
    port = free_port()
    with start(*WEB_SERVER, f"127.0.0.1:{port}", ready="listening on") as process:
        process.address = f"http://127.0.0.1:{port}"
        yield process


@pytest.fixture(scope="module")
def site(django_db_setup, django_db_blocker, start):
    """The address of a web server for all tests of this file."""
    address = f"127.0.0.1:{free_port()}"
    with django_db_blocker.unblock(), start(*WEB_SERVER, address, ready="listening on"):
        yield f"http://{address}"


def fetch(symbol: str) -> Job:
    """A fetch that ends in this process."""
    stock = Stock.objects.get(symbol=symbol)
    return run_once(request_fetches([stock], Job.Trigger.SCHEDULED_UPDATE).created[0])


def long_ago() -> None:
    """What was set up was before every page."""
    Job.objects.all().delete()
    Stock.objects.update(checked_at=None, bars_changed_at=None)


@pytest.fixture
def owner(user, hold, yahoo):
    """A user with AAPL and MSFT, who has not been on a page for long, and the cookie of a session."""
    yahoo.serve("AAPL", "MSFT", "TSLA")
    hold(user, "AAPL", "MSFT")
    user.cookie = cookie_of(user)
    long_ago()
    return user


def test_a_fetch_sends_the_row_of_its_stock_and_the_totals(site, owner):
    with Stream(site, owner.cookie) as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert stream.headers["Content-Encoding"] is None
        assert "no-cache" in stream.headers["Cache-Control"]
        fetch("AAPL")
        events = stream.wait_for('<div class="totals"')
        holding = Holding.objects.get(stock__symbol="AAPL")
        assert all(event.name == "element" for event in events)
        assert any(f'<tr id="holding-{holding.pk}"' in event.data and "fresh" in event.data for event in events)
        assert not any("MSFT" in event.data for event in events)


def test_a_request_shows_at_once_that_a_stock_is_updating(site, owner):
    with Stream(site, owner.cookie) as stream:
        request_fetches([Stock.objects.get(symbol="MSFT")], Job.Trigger.SCHEDULED_UPDATE)
        assert "MSFT" in stream.wait_for("updating")[-1].data


def test_a_row_is_what_the_page_has(site, owner, client):
    with Stream(site, owner.cookie) as stream:
        fetch("AAPL")
        (*_, event) = stream.wait_for("fresh")
    client.force_login(owner)
    shown = " ".join(client.get("/").content.decode().split())
    assert event.data.replace("\xa0", " ") in shown.replace("\xa0", " ")


def test_a_page_hears_nothing_of_stocks_that_only_others_hold(site, owner, hold, django_user_model):
    hold(django_user_model.objects.create_user("other"), "TSLA")
    with Stream(site, owner.cookie) as stream:
        fetch("TSLA")
        fetch("AAPL")
        assert not any("TSLA" in event.data for event in stream.wait_for('<div class="totals"'))


def test_a_new_exchange_rate_sends_the_totals(site, owner, yahoo):
    Stock.objects.filter(symbol="AAPL").update(currency="EUR")
    yahoo.serve("EUR=X", currency="EUR")
    Stock.objects.create(symbol="EUR=X")
    with Stream(site, owner.cookie) as stream:
        fetch("EUR=X")
        assert all("<tr" not in event.data for event in stream.wait_for('<div class="totals"'))


def test_a_stock_that_an_open_page_has_got_belongs_to_the_page(user, hold):
    hold(user, "AAPL")
    Stock.objects.filter(symbol="AAPL").update(currency="EUR")
    assert shown_symbols(user) == parts(user, []).symbols == {"AAPL", "EUR=X"}


def test_an_error_for_one_user_leaves_the_pages_of_others_alone(user, hold, monkeypatch, caplog, django_user_model):
    def failing(one: User, symbols: Collection[str]) -> Parts:
        if one == user:
            raise ZeroDivisionError
        return parts(one, symbols)

    monkeypatch.setattr(listener, "parts", failing)
    other = django_user_model.objects.create_user("other")
    opened = OpenPages()
    for one in (user, other):
        hold(one, "AAPL")
        key = cookie_of(one).partition("=")[2]
        opened.add(OpenPage(one.pk, key, one.get_session_auth_hash(), frozenset({"AAPL"})))
    listener._Listening(opened, NewEvents())._tell({"AAPL": True})
    pages = {page.user: page for page in opened.all()}
    assert pages[user.pk].has_ended
    assert not pages[other.pk].has_ended
    assert "AAPL" in pages[other.pk].take()
    assert "ZeroDivisionError" in caplog.text


def test_a_raised_alert_is_announced_with_the_totals(site, owner, client):
    set_alert(owner, store_closes("AAPL", 100, 100), "above", Decimal(110))
    store_closes("AAPL", 100, 112)
    notice = PriceAlertNotice.objects.get()
    with Stream(site, owner.cookie) as stream:
        fetch("MSFT")
        events = stream.wait_for('<div id="news"')
    assert any('id="unseen" class="badge stale">1<' in event.data for event in events)
    assert f'data-notices="{notice.pk}" data-notes=""' in events[-1].data
    client.force_login(owner)
    assert events[-1].data in client.get("/").content.decode()
    assert "AAPL is at $112.00" in client.get("/holdings/").content.decode()


def test_the_page_of_a_stock_is_told_that_its_figures_have_changed(site, owner):
    with Stream(site, owner.cookie, stock="AAPL") as stream:
        fetch("MSFT")
        fetch("AAPL")
        event = stream.next()
        assert event is not None
        assert event.name == "figures"


def test_what_happened_since_the_page_was_rendered_is_sent_at_once(site, owner):
    rendered = time.time()
    fetch("AAPL")
    with Stream(site, owner.cookie, since=rendered) as stream:
        seen = stream.wait_for('<div class="totals"')
    assert "AAPL" in seen[0].data
    assert not any("MSFT" in event.data for event in seen)


def test_a_changed_row_among_500_takes_less_than_2_kilobytes(site, user, yahoo):
    yahoo.serve("AAPL")
    portfolio = Portfolio.objects.create(user=user, name="Main")
    symbols = ["AAPL", *(f"S{number}" for number in range(499))]
    stocks = Stock.objects.bulk_create(Stock(symbol=symbol, name=f"Name of {symbol}") for symbol in symbols)
    Holding.objects.bulk_create(
        Holding(portfolio=portfolio, stock=stock, shares=Decimal(10), buy_price=Decimal(5)) for stock in stocks
    )
    cookie = cookie_of(user)
    long_ago()
    with Stream(site, cookie) as stream:
        fetch("AAPL")
        events = stream.wait_for("fresh")
        events += stream.wait_for('<div class="totals"')
    row, sums = events[-2], events[-1]
    assert len(f"event: element\ndata: {row.data}\n\nevent: element\ndata: {sums.data}\n\n".encode()) < 2_000


def test_a_page_whose_session_ends_is_told_so(site, owner):
    with Stream(site, owner.cookie) as stream:
        Session.objects.all().delete()
        fetch("AAPL")
        event = stream.next()
        assert event is not None
        assert event.name == "gone"
        assert stream.next() is None


@pytest.mark.parametrize("how", ["logout", "deactivated", "password", "deleted"])
def test_a_person_who_may_not_log_in_any_more_is_sent_nothing(user, how):
    key = cookie_of(user).partition("=")[2]
    page = OpenPage(user.pk, key, user.get_session_auth_hash(), frozenset())
    assert [one for one, _ in logged_in([page])] == [page]
    if how == "logout":
        Session.objects.all().delete()
    elif how == "deactivated":
        user.is_active = False
        user.save()
    elif how == "password":
        user.set_password("another one")
        user.save()
    else:
        user.delete()
    assert logged_in([page]) == []
    assert page.has_ended
    assert "event: gone" in page.take()


def test_a_visitor_gets_no_stream(site, client):
    assert client.get("/live/").url.startswith("/accounts/login/")
    with Stream(site, "") as stream:
        assert stream.status == 302


def test_a_server_with_a_thread_for_each_stream_says_that_it_sends_none(user):
    client = Client()
    client.force_login(user)
    assert client.get("/live/", {"since": str(time.time())}).status_code == 204


@pytest.mark.parametrize("since", ["", "yesterday", "nan", "1e99", "-5"])
def test_a_moment_that_is_none_is_refused_with_the_reason(user, client, since):
    client.force_login(user)
    answer = client.get("/live/", {"since": since})
    assert answer.status_code == 400
    assert "is not a Unix time in seconds" in answer.content.decode()


def test_the_stream_of_a_stock_that_the_user_does_not_hold_is_not_found(user, client):
    Stock.objects.create(symbol="TSLA")
    client.force_login(user)
    for symbol in ("TSLA", "NONE", "%%%"):
        assert client.get("/live/", {"since": str(time.time()), "stock": symbol}).status_code == 404


def test_a_user_with_too_many_pages_is_told_when_to_ask_again(site, owner):
    streams = [Stream(site, owner.cookie) for _ in range(PAGES_OF_A_USER)]
    assert {stream.status for stream in streams} == {200}
    with Stream(site, owner.cookie) as refused:
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "60"
    streams.pop().close()

    def is_admitted() -> bool:
        with Stream(site, owner.cookie) as stream:
            return stream.status == 200

    wait_until(is_admitted, "the place of the closed page")
    for stream in streams:
        stream.close()


def test_streams_end_at_once_when_the_server_stops(web_server, owner):
    with Stream(web_server.address, owner.cookie) as stream:
        wait_until(lambda: stream.status == 200, "the stream")
        web_server.send_signal(signal.SIGTERM)
        assert stream.next(5) is None
        assert web_server.wait(10) == 0


def read(events: NewEvents) -> dict[str, bool]:
    """What is new, sent to all pages."""
    changed = events.read()
    events.done()
    return changed


def commit_end(job: Job, pk: int) -> None:
    """An event with this id, whatever was committed before."""
    JobEvent.objects.create(pk=pk, job=job, seq=100, event=JobEvent.Event.COMPLETED)


def test_events_that_are_committed_out_of_order_are_read_once_each():
    first, second, third = (new_job(symbol) for symbol in ("AAPL", "MSFT", "TSLA"))
    last = JobEvent.objects.latest("pk").pk
    events = NewEvents()
    commit_end(third, last + 3)
    assert read(events) == {"TSLA": True}
    commit_end(first, last + 1)
    assert read(events) == {"AAPL": True}
    commit_end(second, last + 2)
    assert read(events) == {"MSFT": True}
    assert read(events) == {}


def test_an_event_that_was_under_way_at_the_start_is_read():
    first, second = new_job("AAPL"), new_job("MSFT")
    last = JobEvent.objects.latest("pk").pk
    commit_end(second, last + 2)
    events = NewEvents()
    commit_end(first, last + 1)
    assert read(events) == {"AAPL": True}


def test_changes_that_could_not_be_sent_are_read_again():
    events = NewEvents()
    new_job("AAPL")
    assert events.read() == {"AAPL": False}
    assert read(events) == {"AAPL": False}
    assert read(events) == {}


def test_a_batch_changes_each_of_its_stocks():
    events = NewEvents()
    job = new_job("AAPL")
    Job.objects.filter(pk=job.pk).update(symbol="", parameters={"symbols": ["AAPL", "MSFT"]})
    assert set(read(events)) == {"AAPL", "MSFT"}


@pytest.mark.skipif("config.getoption('--database') != 'postgresql'", reason="SQLite has no connections to lose")
def test_pages_stay_open_when_the_database_ends_the_connection(site, owner):
    with Stream(site, owner.cookie) as stream:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid != pg_backend_pid() AND datname = current_database()"
            )
            assert cursor.fetchone()[0] > 0
        fetch("AAPL")
        stream.wait_for("fresh")


def status_of(site: str, request: bytes) -> bytes:
    """The status line of the answer to these bytes."""
    host, _, port = urlsplit(site).netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain:
        plain.sendall(request)
        return plain.recv(15)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/accounts/login/?next=%ff%e2%82", b"200"),
        (b"/accounts/login/?%", b"200"),
        (b"/%ff", b"404"),
        (b"/accounts/login/?next=\xff", b"400"),
    ],
)
def test_bytes_that_are_no_text_do_no_harm(site, target, status):
    request = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert status_of(site, request).startswith(b"HTTP/1.1 " + status)


def test_a_large_file_arrives_whole(site, owner):
    body = (
        b"--b\r\nContent-Disposition: form-data; name=x; filename=x.csv\r\n\r\n" + b"x" * 3_000_000 + b"\r\n--b--\r\n"
    )
    plain = http.client.HTTPConnection(urlsplit(site).netloc, timeout=60)
    headers = {"Cookie": owner.cookie, "Content-Type": "multipart/form-data; boundary=b"}
    plain.request("POST", "/portfolios/import/", body, headers)
    assert plain.getresponse().status == 403  # read to its end in search of the token


def test_a_client_that_leaves_in_the_middle_of_a_form_does_no_harm(site):
    host, _, port = urlsplit(site).netloc.partition(":")
    with socket.create_connection((host, int(port))) as plain:
        plain.sendall(b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nusername=")
    assert status_of(site, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n") == b"HTTP/1.1 200 OK"


def test_a_page_that_reads_too_slowly_is_ended_and_catches_up_later(monkeypatch):
    monkeypatch.setattr("portfolio.live.pages.LONGEST_BACKLOG", 10)
    page = OpenPage(1, "session", "hash", frozenset())
    page.send(["12345"])
    assert page.take() == "12345"
    page.send(["12345", "67890"])
    assert not page.has_ended
    page.send(["1"])
    assert page.has_ended
    page.send(["more"])  # it would gather for as long as the client neither reads nor leaves
    assert page.take() == "12345678901"
