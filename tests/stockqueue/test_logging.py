"""Logs: each line is in the files where it belongs, whole, in one line, and without secrets."""

import logging
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import requests
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from market.jobs.requests import request_fetches
from operations.local.child_processes import free_port, wait_until
from operations.local.http_client import Browser
from operations.local.process_plan import plan
from stockqueue.logs.files import SharedFileHandler
from stockqueue.logs.lines import LONGEST_TEXT, LineFormatter, redact
from tasks.models import Job
from tasks.state import lifecycle
from tests.conftest import BRIDGE, ROOT, WORKER, output_of
from tests.stockqueue.test_start import run

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ [A-Z]+ [\w.]+: ")
WRITER = """
import logging, sys
from stockqueue.logs.files import SharedFileHandler
from stockqueue.logs.lines import LineFormatter
file, name, count, max_size, backups = sys.argv[1:]
handler = SharedFileHandler(file, int(max_size), int(backups))
handler.setFormatter(LineFormatter())
logging.basicConfig(handlers=[handler], level="INFO")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    logging.info("%s-%d %s", name, number, "x" * (number % 97 if number % 100 else 20_000))
"""


def write_at_once(file: Path, *, processes: int, count: int, max_size: int, backups: int) -> None:
    """Have several processes write `count` lines each, all from the same moment on."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, file, f"p{number}", str(count), str(max_size), str(backups)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0


def lines_of(folder: Path, name: str) -> list[str]:
    """The lines of a log file and of what was rotated away."""
    files = [file for file in folder.glob(f"{name}*") if file.suffix != ".lock"]
    return [line for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("max_size", [4_000, 50_000])
def test_processes_that_write_and_rotate_at_the_same_time_lose_no_line(tmp_path, max_size):
    write_at_once(tmp_path / "shared.log", processes=4, count=1_000, max_size=max_size, backups=1_000)
    lines = lines_of(tmp_path, "shared.log")
    assert all(LINE.match(line) for line in lines)
    written = sorted(line.split()[5] for line in lines)
    assert written == sorted(f"p{process}-{number}" for process in range(4) for number in range(1_000))
    assert (tmp_path / "shared.log.5").exists()


@pytest.mark.parametrize("backups", [0, 2])
def test_no_more_files_are_kept_than_are_asked_for(tmp_path, backups):
    write_at_once(tmp_path / "shared.log", processes=2, count=2_000, max_size=20_000, backups=backups)
    assert len([file for file in tmp_path.iterdir() if file.suffix != ".lock"]) <= 1 + backups
    assert max(file.stat().st_size for file in tmp_path.iterdir()) < 70_000


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path):
    file = tmp_path / "moved.log"
    handler = SharedFileHandler(str(file), 0, 5)
    handler.emit(logging.makeLogRecord({"msg": "first"}))
    file.rename(tmp_path / "elsewhere")
    handler.emit(logging.makeLogRecord({"msg": "second"}))
    handler.close()
    assert file.read_text() == "second\n"


def test_lines_that_cannot_be_written_are_told_once_and_nothing_is_raised(tmp_path, capsys):
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = SharedFileHandler(str(folder / "away.log"), 0, 5)
    folder.rmdir()
    for _ in range(3):
        handler.emit(logging.makeLogRecord({"msg": "lost"}))
    assert capsys.readouterr().err.splitlines() == [
        f"{folder / 'away.log'}: lines are missing: No such file or directory"
    ]
    folder.mkdir()
    handler.emit(logging.makeLogRecord({"msg": "found"}))
    handler.close()
    assert (folder / "away.log").read_text() == "found\n"


def test_a_log_that_cannot_be_written_is_told_at_the_start_and_does_not_stop_it(tmp_path, configuration_file):
    not_a_folder = tmp_path / "file"
    not_a_folder.touch()
    file = configuration_file(**{"logging.file": f"{not_a_folder}/all.log"})
    ended = run("manage.py", "check", STOCKQUEUE_CONFIG=str(file), STOCKQUEUE_VAR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[0] == (
        f"job_processor.logging.file: '{not_a_folder}/all.log' cannot be written ({not_a_folder} is not a folder): "
        "console only"
    )
    assert (tmp_path / "logs" / "mqtt.log").exists()


@pytest.mark.django_db(transaction=True)
def test_web_worker_bridge_and_beat_write_their_lines_where_they_belong(
    user, hold, yahoo, start, new_redis, mosquitto_server, tmp_path, settings, real_hashes
):
    hold(user, "AAPL")
    yahoo.serve("AAPL")
    everything = {
        "STOCKQUEUE_VAR": str(tmp_path),
        "CELERY_BROKER_URL": new_redis.url,
        "MQTT_URL": f"mqtt://{mosquitto_server.host}:{mosquitto_server.port}",
        **yahoo.server.environment,
    }
    http = free_port()
    web = plan(http_port=http, mqtt=settings.MQTT).programs["web"][1:]
    site = f"http://127.0.0.1:{http}"
    user.set_password("secret")
    user.save()
    beat = ("-m", "celery", "-A", "stockqueue", "beat", "--pidfile", "", "--loglevel", "DEBUG")
    logs = tmp_path / "logs"
    with (
        start(*web, ready="Listening at", **everything),
        start(*WORKER, ready=" ready.", **everything),
        start(*BRIDGE, ready="connected to", **everything),
        start(*beat, ready="beat: Starting", **everything),
    ):
        Browser(site).log_in(user.username, "secret")
        wait_until(lambda: " completed " in (logs / "data_fetch.log").read_text(), "the fetch", timeout=60)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{site}/no%0a2026-11-25%2020:55:24,123%201%20INFO%20tasks.jobs:%20forged")
    job = Job.objects.get(symbol="AAPL")
    texts = {name: (logs / f"{name}.log").read_text() for name in ("portfolio_jobs", "data_fetch", "mqtt", "analysis")}
    assert f"login of user {user.pk}: " in texts["portfolio_jobs"]
    facts = f"type=stock_fetch symbol=AAPL trigger=user_login priority={job.priority} queue=foreground"
    for event in ("created", "queued"):
        assert f" INFO tasks.jobs: job {job.pk} {event} {facts}\n" in texts["portfolio_jobs"]
    worked = rf"{facts} attempt=1 worker={re.escape(job.worker_id)}"
    assert re.search(rf"INFO tasks.jobs.fetch: job {job.pk} started {worked}\n", texts["data_fetch"])
    ended = rf"job {job.pk} completed {worked} seconds=\d+\.\d{{3}} outcome=updated\n"
    assert re.search(ended, texts["data_fetch"])
    assert "INFO mqtt_bridge.relay: connected to" in texts["mqtt"]
    assert texts["analysis"] == ""
    whole = (logs / "stock_worker.log").read_text()
    for text in ("Listening at", " ready.", "connected to", "beat: Starting", *texts.values()):
        assert text in whole or all(line in whole for line in text.splitlines())
    assert r"/no\n2026-11-25" in whole
    assert all(LINE.match(line) or line.startswith("  ") for line in whole.splitlines())
    assert not any(line.endswith("forged") and r"\n" not in line for line in whole.splitlines())


@pytest.fixture
def log(tmp_path):
    """A logger whose file is read with `log.text()`."""
    handler = SharedFileHandler(str(tmp_path / "one.log"), 0, 1)
    handler.setFormatter(LineFormatter(secrets=["J7Q2ZK9WX4B1M0PT"]))
    logger = logging.Logger("tests.one")
    logger.addHandler(handler)
    logger.text = lambda: (tmp_path / "one.log").read_text()  # type: ignore[attr-defined]
    yield logger
    handler.close()


FORGED = "2026-11-25 20:55:24,123 1 INFO tasks.jobs: forged"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_what_users_type_cannot_begin_a_line(log, end):
    log.info("login of %s failed", f"mallory{end}{FORGED}")
    (line,) = log.text().splitlines()
    assert LINE.match(line)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("\x1b[2J", r"\x1b[2J"), ("\x00", r"\x00"), ("\u202egro", r"\u202egro"), ("\ud800", r"\ud800")],
)
def test_what_moves_a_terminal_or_is_no_text_is_shown_as_an_escape(log, typed, shown):
    log.info("user %s", typed)
    assert log.text().endswith(f"user {shown}\n")


def test_tracebacks_are_indented_so_that_their_text_cannot_begin_a_line(log):
    try:
        raise ValueError(f"bad symbol\n{FORGED}\r{FORGED}")
    except ValueError:
        log.exception("job failed")
    first, *more = log.text().splitlines()
    assert LINE.match(first)
    assert more
    assert all(line.startswith("  ") for line in more)
    assert len([line for line in more if line.endswith("forged")]) == 1


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect to redis://:{SECRET}@127.0.0.1:6379/0",
        f"cannot connect to amqp://guest:{SECRET}@rabbit//",
        f"cannot connect to postgres://user:a/b@{SECRET}@db/name",
        f"mqtts://user:{SECRET}@broker and smtp://me:{SECRET}@mail",
        f"smtp://me@example.org:{SECRET}@mail",
        f"redis://:{'long' * 1_000}{SECRET}@127.0.0.1:6379/0",
        f"Max retries exceeded with url: /query?function=DAILY&apikey={SECRET}&symbol=IBM",
        f"{{'password': '{SECRET}', 'api_key': \"{SECRET} {SECRET}\"}}",
        f"{{'password': '{SECRET} without an end",
        f"OPENAI_API_KEY={SECRET}",
        f"host=db user=x password={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'Basic {SECRET}', 'Accept': '*/*'}}",
        f"Cookie: csrftoken=x; sessionid={SECRET}",
        f"Set-Cookie: sessionid={SECRET}; HttpOnly",
        f"sessionid={SECRET}",
        f"Incorrect API key provided: sk-{SECRET}-{SECRET}",
        "We have detected your API key as J7Q2ZK9WX4B1M0PT and our rate limit is 25 a day",
    ],
)
def test_secrets_are_redacted(log, text):
    log.error("it failed: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("again")
    assert SECRET not in log.text()
    assert "J7Q2ZK9WX4B1M0PT" not in log.text()
    assert "***" in log.text()


@pytest.mark.parametrize(
    "text",
    [
        "job 1 completed type=stock_fetch symbol=KEY outcome=updated worker=foreground@host:17",
        "connected to mqtt://127.0.0.1:1883",
        "https://query1.finance.yahoo.com/v8/chart/AAPL?range=1mo&interval=1d",
        "max_tokens=1000, 17 tokens left",
        "the user's session has ended",
    ],
)
def test_other_texts_are_left_as_they_are(log, text):
    log.info("%s", text)
    assert log.text().endswith(f": {text}\n")


@pytest.mark.parametrize(
    ("before", "repeated"),
    [
        ("://", "a"),
        ("", "a://:"),
        ("", "@a://a:"),
        ("", "authorization: "),
        ("authorization:", " "),
        ("authorization:", "w "),
        ("", "bearer "),
        ("cookie:", "\n"),
        ("", "token \t"),
        ("", "password=\"token='"),
        ("secret ", "sk-"),
        ("secret ", "sk-a "),
    ],
)
def test_looking_for_secrets_takes_a_time_that_grows_with_the_text_alone(before, repeated):
    def seconds(size: int) -> float:
        text = before + repeated * (size // len(repeated))
        times = []
        for _ in range(3):
            began = time.thread_time()
            redact(text)
            times.append(time.thread_time() - began)
        return min(times)

    # Four times the text: four times as long, or sixteen times where each place begins a search of the rest.
    assert seconds(80_000) < 9 * seconds(20_000) + 0.01
    assert seconds(80_000) < 2


def test_a_long_text_is_cut_and_the_line_says_by_how_much(log):
    log.info("login of %r failed", "x" * 40_000)
    log.info("%s", "four " * 40_000)
    cut, words = log.text().splitlines()
    assert cut.endswith(": login of '… (40,008 characters cut)")
    assert words.endswith(" four … (167,235 characters cut)")
    assert len(words) < LONGEST_TEXT + 200


def test_each_of_several_events_in_a_record_is_cut(log):
    log.info("two", extra={"events": ["first " + "x" * 40_000, "second"]})
    first, second = log.text().splitlines()
    assert first.endswith(": first … (40,000 characters cut)")
    assert second.endswith(": second")


def test_a_long_traceback_is_cut(log):
    try:
        raise ValueError("line\n" * 40_000)
    except ValueError:
        log.exception("job failed")
    text = log.text()
    assert len(text) < 4 * LONGEST_TEXT
    assert re.search(r"\… \(\d{3},\d{3} characters cut\)\n$", text)


@pytest.mark.parametrize(
    "secret",
    [
        f"redis://:{SECRET}@127.0.0.1:6379/0",
        f"https://site/?apikey={SECRET}&symbol=IBM",
        f"password='{SECRET} {SECRET}'",
        f"Authorization: Bearer {SECRET}",
        f"Cookie: sessionid={SECRET}",
        f"sk-{SECRET}-{SECRET}",
        "J7Q2ZK9WX4B1M0PT",
    ],
)
def test_a_cut_shows_no_part_of_a_secret(log, secret):
    places = range(LONGEST_TEXT - len(secret) - 3, LONGEST_TEXT + 3)
    for place in places:
        log.info("%s", "x " * (place // 2) + secret + " more" * 100)
    lines = log.text().splitlines()
    assert len(lines) == len(places)
    assert all("characters cut)" in line for line in lines)
    assert not any(part in line for line in lines for part in (SECRET[:2], "J7"))


def test_a_real_failure_of_requests_does_not_show_the_key(log):
    try:
        requests.get(f"http://127.0.0.1:{free_port()}/query", params={"apikey": SECRET}, timeout=5)
    except requests.ConnectionError as error:
        log.warning("%s", error)
        log.exception("the source could not be reached")
    assert "apikey=***" in log.text()
    assert SECRET not in log.text()


def test_a_worker_whose_broker_cannot_be_reached_does_not_show_its_password(start, tmp_path, django_db_setup):
    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    with start(*WORKER, ready="Cannot connect to", CELERY_BROKER_URL=url, STOCKQUEUE_VAR=str(tmp_path)) as worker:
        said = output_of(worker)
    assert SECRET not in said
    assert SECRET not in (tmp_path / "logs" / "stock_worker.log").read_text()


@pytest.fixture
def job(user, hold, transactional_db) -> Job:
    return request_fetches(hold(user, "AAPL"), Job.Trigger.USER_LOGIN, user).created[0]


def test_a_step_that_is_not_committed_is_not_told(job, caplog):
    caplog.set_level("INFO", "tasks.jobs")
    caplog.clear()
    with transaction.atomic():
        lifecycle.cancel([job.pk], "not needed")
        transaction.set_rollback(True)
    assert caplog.messages == []
    lifecycle.cancel([job.pk], "not\nneeded")
    (told,) = caplog.messages
    assert told.startswith(f"job {job.pk} cancelled type=stock_fetch symbol=AAPL ")
    assert told.endswith(r'error="not\nneeded"')


def test_failures_are_told_as_warnings(job, caplog):
    caplog.set_level("WARNING", "tasks.jobs")
    lifecycle.mark_queued([job.pk])
    claimed = lifecycle.claim(job.pk, "worker")
    assert claimed is not None
    caplog.clear()
    lifecycle.fail(claimed, "Yahoo says no")
    (told,) = caplog.messages
    assert " failed " in told
    assert told.endswith('error="Yahoo says no"')


def test_telling_a_step_asks_the_database_for_nothing(user, hold, transactional_db, caplog):
    counts = []
    for level, symbol in (("ERROR", "AAPL"), ("INFO", "MSFT")):
        caplog.set_level(level, "tasks.jobs")
        (job,) = request_fetches(hold(user, symbol), Job.Trigger.USER_LOGIN, user).created
        with CaptureQueriesContext(connection) as queries:
            lifecycle.mark_queued([job.pk])
            claimed = lifecycle.claim(job.pk, "worker")
            assert claimed is not None
            lifecycle.complete(claimed, Job.Outcome.UPDATED, {})
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert len(caplog.messages) >= 3


def test_threads_of_one_process_do_not_mix_their_lines(tmp_path):
    handler = SharedFileHandler(str(tmp_path / "threads.log"), 10_000, 1_000)
    handler.setFormatter(LineFormatter())
    logger = logging.Logger("threads")
    logger.addHandler(handler)

    def write() -> None:
        for _ in range(300):
            logger.info("x" * 100)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()
    lines = lines_of(tmp_path, "threads.log")
    assert len(lines) == 1_200
    assert all(LINE.match(line) for line in lines)
