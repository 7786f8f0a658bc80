"""Mails to users are sent outside the request, once, and leave nothing behind."""

from datetime import timedelta
from smtplib import SMTPRecipientsRefused

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core import mail as django_mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import transaction
from django.test import Client
from django.utils import timezone

from operations.default_schedules import DEFAULTS
from operations.local.child_processes import free_port, wait_until
from operations.routes import route
from portfolio import celery_tasks, mails
from portfolio.mails import PAUSES, hand_over_due, queue_mail, send_mails
from portfolio.models import OutgoingMail
from tasks.delivery import direct
from tasks.upkeep.retention import clean_up, cutoff
from tests.conftest import output_of
from tests.operations.test_schedules import messages
from tests.support.promptly import promptly
from tests.support.standins.mail_server import MailServer

ALL = len(PAUSES) + 1

pytestmark = pytest.mark.django_db


class RefusingBackend(EmailBackend):
    """A mail server that does not know `nobody`."""

    def send_messages(self, outgoing):
        for one in outgoing:
            if one.to == ["nobody@example.com"]:
                raise SMTPRecipientsRefused({"nobody@example.com": (550, b"no nobody@example.com here")})
        return super().send_messages(outgoing)


@pytest.fixture
def no_mail_server(settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", free_port(), 1


def test_a_mail_is_stored_first_and_deleted_when_it_is_sent(mailoutbox):
    queue_mail(["a@example.com", "b@example.com"], "Prices\r\nBcc: c@example.com", "A secret link\n")
    assert mailoutbox == []
    assert OutgoingMail.objects.count() == 2
    assert send_mails() == 2
    assert [(one.to, one.subject, one.body) for one in mailoutbox] == [
        (["a@example.com"], "Prices Bcc: c@example.com", "A secret link\n"),
        (["b@example.com"], "Prices Bcc: c@example.com", "A secret link\n"),
    ]
    assert not OutgoingMail.objects.exists()
    assert send_mails() == 0


def test_a_mail_of_a_transaction_that_failed_is_not_sent(mailoutbox):
    with transaction.atomic():
        queue_mail(["a@example.com"], "Prices", "text")
        transaction.set_rollback(True)
    assert send_mails() == 0
    assert mailoutbox == []


def test_a_mail_that_another_process_is_sending_is_left_to_it(mailoutbox, monkeypatch):
    queue_mail(["a@example.com"], "Prices", "text")
    (seen,) = mails._due()
    assert mails._claim(seen)
    assert not mails._claim(seen)
    assert send_mails() == 0
    assert mailoutbox == []


def test_a_mail_waits_longer_after_each_failure_and_is_given_up_in_the_end(no_mail_server, caplog):
    with time_machine.travel("2026-03-02 12:00Z", tick=False) as clock:
        queue_mail(["secret.name@example.com"], "Secret subject", "Secret body")
        for pause in PAUSES:
            assert send_mails() == 0
            assert OutgoingMail.objects.get().next_at == timezone.now() + pause
            clock.shift(pause - timedelta(seconds=1))
            assert send_mails() == 0
            clock.shift(1)
        assert send_mails() == 0
    assert not OutgoingMail.objects.exists()
    assert sum(f"attempt {ALL} of {ALL} failed" in line for line in caplog.messages) == 1
    assert "was given up" in caplog.text
    assert "secret" not in caplog.text.lower()


def test_an_unavailable_mail_server_is_tried_with_one_mail_alone(no_mail_server):
    queue_mail(["a@example.com", "b@example.com"], "Prices", "text")
    send_mails()
    assert sorted(OutgoingMail.objects.values_list("attempts", flat=True)) == [0, 1]


def test_a_refused_recipient_keeps_nobody_else_from_a_mail(settings, caplog):
    settings.EMAIL_BACKEND = f"{__name__}.RefusingBackend"
    queue_mail(["nobody@example.com", "a@example.com"], "Prices", "text")
    assert send_mails() == 1
    assert [one.to for one in django_mail.outbox] == [["a@example.com"]]
    assert OutgoingMail.objects.get().to == "nobody@example.com"
    assert "refused the recipient (550)" in caplog.text
    assert "nobody" not in caplog.text


def test_a_mail_that_nothing_sends_is_deleted_after_a_day():
    with time_machine.travel("2026-03-02 12:00Z"):
        queue_mail(["a@example.com"], "Prices", "text")
    with time_machine.travel("2026-03-03 11:00Z"):
        assert clean_up(cutoff()).more["mails"] == 0
    with time_machine.travel("2026-03-03 13:00Z"):
        assert clean_up(cutoff()).more["mails"] == 1


@pytest.mark.parametrize(("broker_url", "priority"), [("redis://x", 3), ("amqp://x", 7)])
def test_the_schedule_sends_each_minute_without_a_worker_of_foreground(settings, broker_url, priority):
    settings.CELERY_BROKER_URL = broker_url
    (schedule,) = [one for one in DEFAULTS if one.task == celery_tasks.send_mails.name]
    assert schedule.interval == timedelta(minutes=1)
    assert route(schedule.task, (), {}, {}) == {"queue": "background_fetch", "priority": priority}


def test_the_task_sends(mailoutbox):
    queue_mail(["a@example.com"], "Prices", "text")
    assert celery_tasks.send_mails.apply().get() == 1
    assert len(mailoutbox) == 1


def test_after_the_commit_a_worker_is_told(new_redis, point_to, django_capture_on_commit_callbacks):
    point_to(new_redis.url)
    with django_capture_on_commit_callbacks(execute=True):
        queue_mail(["a@example.com"], "Prices", "text")
    (message,) = messages(new_redis.url, "background_fetch")
    assert message["headers"]["task"] == "stockqueue.send_mails"
    assert message["properties"]["priority"] == 3


@pytest.mark.parametrize("state", ["stopped", "paused"])
def test_a_request_is_not_delayed_while_redis_is(state, new_redis, point_to, django_capture_on_commit_callbacks):
    point_to(new_redis.url)
    new_redis.stop() if state == "stopped" else new_redis.pause()
    with promptly(), django_capture_on_commit_callbacks(execute=True):
        queue_mail(["a@example.com"], "Prices", "text")
    assert OutgoingMail.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("backend", ["celery", "direct"])
def test_this_process_sends_where_no_broker_takes_the_message(configure, direct_processing, mailoutbox, backend):
    configure(**{"queue.backend": backend})
    queue_mail(["a@example.com"], "Prices", "text")
    wait_until(lambda: not OutgoingMail.objects.exists(), "the mail")
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_a_sweep_of_direct_processing_sends_what_was_left(configure, direct_processing, mailoutbox):
    configure(**{"queue.backend": "direct"})
    hand_over_due()
    OutgoingMail.objects.create(to="a@example.com", subject="Prices", body="text")
    hand_over_due()
    assert direct.wait_until_idle(30)
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_sends_the_mail_of_a_request_to_the_mail_server(new_redis, point_to, start, settings):
    settings.SENDS_MAIL = True
    User.objects.create_user("owner", "owner@example.com", "secret")
    point_to(new_redis.url)
    worker = ("-m", "celery", "-A", "stockqueue", "worker", "-Q", "background_fetch", "-c", "1")
    with (
        MailServer() as server,
        start(*worker, ready="ready.", CELERY_BROKER_URL=new_redis.url, EMAIL_URL=server.url) as process,
    ):
        Client().post("/accounts/password_reset/", {"email": "owner@example.com"})
        wait_until(lambda: bool(server.mails) and not OutgoingMail.objects.exists(), "the mail", process=process)
        output = output_of(process)
    (mail,) = server.mails
    assert (mail["To"], mail["Subject"]) == ("owner@example.com", "New password for testserver")
    assert "http://testserver/accounts/reset/" in mail.get_content()
    assert "/accounts/reset/" not in output
    assert "owner@example.com" not in output
