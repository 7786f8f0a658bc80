"""Who guesses passwords has to wait; nobody else has to."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from stockqueue.client_address import client_address
from tests.stockqueue.test_start import run

PAGES = ("/accounts/login/", "/admin/login/")
LOCKED = "Too many failed logins from your address. Try again in 15 minutes, or ask an administrator to unlock you."


def post(
    name: str, password: str = "wrong", *, page: str = PAGES[0], address: str = "192.0.2.1", **headers: str
) -> Any:
    """The answer to a login form that somebody at that address sends."""
    form = {"username": name, "password": password}
    return Client().post(page, form, REMOTE_ADDR=address, headers=headers)


def guess(times: int, name: str, **options: Any) -> Any:
    """The answer to the last one of so many wrong passwords."""
    for _ in range(times):
        answer = post(name, **options)
    return answer


def logs_in(name: str, **options: Any) -> bool:
    return post(name, "secret", **options).status_code == 302


@pytest.fixture
def at(monkeypatch):
    """at(minutes): from now on, logins happen so much later."""

    def at(minutes: float) -> None:
        moment = timezone.now() + timedelta(minutes=minutes)
        monkeypatch.setattr("axes.handlers.proxy.now", lambda: moment)

    return at


@pytest.fixture
def admin(db) -> User:
    return User.objects.create_superuser("boss", password="secret")


@pytest.mark.parametrize("page", PAGES)
def test_the_fifth_wrong_password_locks_out_and_the_page_says_for_how_long(page, admin):
    assert guess(4, "boss", page=page).status_code == 200
    fifth = post("boss", page=page)
    assert fifth.status_code == 429
    assert LOCKED in fifth.content.decode()
    assert fifth["Retry-After"] == "900"
    right = post("boss", "secret", page=page)
    assert right.status_code == 429
    assert LOCKED in right.content.decode()
    assert 'name="password"' in right.content.decode()


def test_both_pages_count_together(admin):
    guess(3, "boss", page=PAGES[0])
    assert guess(2, "boss", page=PAGES[1]).status_code == 429
    assert not logs_in("boss", page=PAGES[0])


def test_another_user_at_the_same_address_is_not_locked_out(user, admin):
    guess(5, user.username)
    assert logs_in("boss")


def test_the_same_user_at_another_address_is_not_locked_out(user):
    guess(5, user.username)
    assert logs_in(user.username, address="192.0.2.2")


def test_names_that_do_not_exist_are_locked_out_alike(db):
    assert guess(5, "nobody").status_code == 429


def test_another_browser_is_locked_out_too(user):
    for number in range(5):
        answer = post(user.username, **{"user-agent": f"browser {number}"})
    assert answer.status_code == 429
    assert not logs_in(user.username)


def test_an_address_that_tries_many_users_is_locked_out_for_all(user):
    for number in range(49):
        assert post(f"user-{number}").status_code == 200
    assert logs_in(user.username)
    assert post("user-49").status_code == 429
    refused = post(user.username, "secret")
    assert refused.status_code == 429
    assert LOCKED in refused.content.decode()
    assert logs_in(user.username, address="192.0.2.2")


def test_after_the_cool_off_one_may_log_in_again(user, at):
    guess(5, user.username)
    at(14.5)
    refused = post(user.username, "secret")
    assert "Try again in 1 minute, or" in refused.content.decode()
    at(15.1)
    assert logs_in(user.username)


def test_trying_on_while_locked_out_does_not_make_it_longer(user, at):
    guess(5, user.username)
    at(10)
    guess(20, user.username)
    at(15.1)
    assert logs_in(user.username)


def test_a_login_that_succeeds_forgets_the_failures_before(user):
    for _ in range(3):
        guess(4, user.username)
        assert logs_in(user.username)


def test_an_account_of_ones_own_does_not_help_to_guess_those_of_others(user, admin):
    guess(4, "boss")
    assert logs_in(user.username)
    assert guess(1, "boss").status_code == 429


def test_an_admin_unlocks(user, admin, client):
    guess(5, user.username)
    guess(5, "boss", address="192.0.2.7")
    client.force_login(admin)
    page = reverse("admin:axes_accessattempt_changelist")
    assert user.username in client.get(page).content.decode()
    attempt = AccessAttempt.objects.get(username=user.username)
    form = {"action": "unlock", "_selected_action": [attempt.pk]}
    answer = client.post(page, form, follow=True)
    assert f"Unlocked: {user.username} from 192.0.2.1." in answer.content.decode()
    assert logs_in(user.username)
    assert not logs_in("boss", address="192.0.2.7")


def test_only_who_may_delete_attempts_unlocks(user, client):
    staff = User.objects.create_user("staff", password="secret", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_accessattempt"))
    guess(5, user.username)
    client.force_login(staff)
    page = reverse("admin:axes_accessattempt_changelist")
    assert 'value="unlock"' not in client.get(page).content.decode()
    client.post(page, {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk]})
    assert not logs_in(user.username)


@pytest.mark.parametrize(
    "command", [["axes_reset_username", "{name}"], ["axes_reset_ip", "192.0.2.1"], ["axes_reset"]]
)
def test_commands_unlock(user, command):
    guess(5, user.username)
    call_command(*(word.format(name=user.username) for word in command))
    assert logs_in(user.username)


def test_a_header_does_not_make_another_address(user):
    for number in range(5):
        answer = post(user.username, **{"x-forwarded-for": f"198.51.100.{number}"})
    assert answer.status_code == 429


def test_behind_a_proxy_its_header_counts_and_what_the_client_put_into_it_does_not(user, settings):
    settings.PROXIES = 1
    for number in range(5):
        answer = post(user.username, **{"x-forwarded-for": f"10.0.0.{number}, 198.51.100.1"})
    assert answer.status_code == 429
    assert logs_in(user.username, **{"x-forwarded-for": "198.51.100.2"})


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "address"),
    [
        (0, "198.51.100.1", "192.0.2.1", "192.0.2.1"),
        (1, "198.51.100.1", "192.0.2.1", "198.51.100.1"),
        (2, "10.0.0.1, 198.51.100.1, 203.0.113.5", "192.0.2.1", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.1", "192.0.2.1"),
        (1, "", "192.0.2.1", None),
        (1, "nonsense\n", "192.0.2.1", None),
        (0, "", "", None),
        (0, "", "::ffff:192.0.2.1", "192.0.2.1"),
        (0, "", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ],
)
def test_whose_failures_count_together(proxies, forwarded, remote, address, settings):
    settings.PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(request) == address


def test_without_an_address_users_are_locked_out_all_the_same(user):
    assert guess(5, user.username, address="").status_code == 429


@pytest.mark.parametrize("value", ["-1", "one", "1.5", "100"])
def test_a_number_of_proxies_that_is_none_is_an_error(value):
    ended = run("manage.py", "check", STOCKQUEUE_PROXIES=value)
    assert ended.returncode == 1
    assert ended.stderr == f"STOCKQUEUE_PROXIES: {value!r} is not a whole number from 0 to 99\n"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("length", [151, 256, 40_000])
def test_a_name_that_is_too_long_for_a_user_is_refused_and_neither_stored_nor_logged(page, length, db, caplog):
    name = "x" * length
    answer = post(name, page=page)
    assert answer.status_code == 200
    assert "Please enter" in answer.content.decode()
    assert not AccessAttempt.objects.exists()
    assert f"login of a name of {length} characters from 192.0.2.1 refused" in caplog.messages
    assert name[:151] not in caplog.text


def test_the_longest_name_that_a_user_can_have_is_counted(db):
    assert guess(5, "x" * 150).status_code == 429


def queries_of(post: Any) -> int:
    with CaptureQueriesContext(connection) as queries:
        post()
    return len(queries)


def test_a_login_that_succeeds_at_once_costs_one_query_more(user, settings):
    counted = queries_of(lambda: logs_in(user.username))
    settings.AXES_ENABLED = False
    assert counted == queries_of(lambda: logs_in(user.username)) + 1


def test_a_failure_costs_the_same_however_many_there_were(user):
    guess(2, user.username)
    early = queries_of(lambda: post(user.username))
    for number in range(40):
        post(f"user-{number}")
    assert queries_of(lambda: post(user.username)) == early


def test_the_log_says_who_was_locked_out_from_where_in_one_line(user, caplog):
    guess(6, user.username)
    told = [record.getMessage() for record in caplog.records if record.name == "operations.security.lockout"]
    prefix = f"login of {user.username!r} from 192.0.2.1"
    assert told == [*[f"{prefix} failed"] * 4, f"{prefix} failed, and is locked out now", f"{prefix} refused"]


def test_a_password_is_not_kept(user):
    post(user.username, "hunter2hunter2")
    attempt = AccessAttempt.objects.get()
    assert "hunter2hunter2" not in str(attempt.__dict__)
