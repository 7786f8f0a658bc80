"""Where DJANGO_DEBUG is off: no demo user gets in, and pages find their static files."""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from operations.local.child_processes import free_port, wait_until
from stockqueue.private_files import locked
from tests.conftest import Start, database_url
from tests.stockqueue.test_start import COMMANDS, PRODUCTION, run

pytestmark = pytest.mark.django_db(transaction=True)

SERVING = {name: command for name, command in COMMANDS.items() if name != "manage.py"} | {
    "make run": ["manage.py", "run", "--port", "0"]
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a program in production, on the test database."""
    return {**PRODUCTION, "DATABASE_URL": database_url(), "STOCKQUEUE_VAR": str(tmp_path / "var")}


@pytest.fixture
def demo_users(settings, real_hashes) -> None:
    settings.DEBUG = True
    call_command("loaddata", "demo", verbosity=0)
    settings.DEBUG = False


REFUSED = (
    "database: demo users have their public passwords (admin, demo), and DJANGO_DEBUG is off; "
    "change the passwords (manage.py changepassword admin), or delete the users"
)


@pytest.mark.parametrize("command", SERVING.values(), ids=SERVING.keys())
def test_no_program_serves_a_database_with_the_demo_users(command, demo_users, environment):
    ended = run(*command, **environment)
    assert ended.returncode == 1
    *others, last = ended.stderr.splitlines()
    assert last == REFUSED
    assert all(" INFO " in line for line in others)


def test_a_public_password_that_was_stored_anew_is_found(demo_users, environment):
    demo = User.objects.get(username="demo")
    demo.set_password("demo")
    demo.save()
    User.objects.filter(username="admin").delete()
    ended = run(*SERVING["the bridge"], **environment)
    assert ended.returncode == 1
    assert "(demo), and DJANGO_DEBUG is off; change the passwords (manage.py changepassword demo)" in ended.stderr


def test_users_with_passwords_of_their_own_and_inactive_ones_keep_no_program_from_starting(demo_users, environment):
    admin = User.objects.get(username="admin")
    admin.set_password("correct horse battery staple")
    admin.save()
    User.objects.filter(username="demo").update(is_active=False)
    ended = run(*SERVING["the web server"], **environment)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_demo_users_serve_where_debug_is_on(demo_users, environment):
    ended = run(*SERVING["the web server"], **environment | {"STOCKQUEUE_ENV": "development"})
    assert (ended.returncode, ended.stderr) == (0, "")


def test_commands_that_mend_the_database_work_with_the_demo_users(demo_users, environment):
    script = (
        "from django.contrib.auth.models import User; User.objects.filter(username__in=['admin', 'demo']).delete()"
    )
    for command in (["migrate", "-v0"], ["shell", "-v0", "-c", script], ["check"]):
        ended = run("manage.py", *command, **environment)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert run(*SERVING["the web server"], **environment).returncode == 0


def test_a_database_that_is_away_keeps_no_web_server_from_starting(environment):
    away = {"DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/none"}
    ended = run(*SERVING["the web server"], **environment | away)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(("debug", "status"), [(False, 200), (True, 302)])
def test_a_demo_user_cannot_log_in_where_debug_is_off(debug, status, demo_users, settings):
    settings.DEBUG = debug
    answer = Client().post("/accounts/login/", {"username": "demo", "password": "demo"})
    assert answer.status_code == status


def test_a_refusal_ends_the_web_server_that_the_documents_start(demo_users, environment):
    command = ["-m", "gunicorn", "stockqueue.wsgi", "--bind", f"127.0.0.1:{free_port()}", "--workers", "2"]
    ended = run(*command, **environment)
    assert ended.returncode == 1
    assert ended.stderr.count(REFUSED) == 1


@contextmanager
def web_server(start: Start, environment: dict[str, str]) -> Iterator[str]:
    """The address of a web server in production, as the documents start it."""
    port = free_port()
    command = ("-m", "gunicorn", "stockqueue.wsgi", "--bind", f"127.0.0.1:{port}")
    with start(*command, ready="Listening at", **environment):
        yield f"http://127.0.0.1:{port}"


def get(address: str) -> "tuple[int, str, str]":
    """Status, body and Cache-Control of a page, as a proxy that speaks TLS asks for it."""
    request = urllib.request.Request(address, headers={"X-Forwarded-Proto": "https"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace"), answer.headers.get("Cache-Control", "")
    except urllib.error.HTTPError as error:
        return error.code, "", ""


def test_pages_of_a_new_installation_find_their_static_files(start, environment):
    with web_server(start, environment) as site:
        status, page, _ = get(f"{site}/accounts/login/")
        assert status == 200
        assert get(f"{site}/admin/login/")[0] == 200
        addresses = re.findall(r'"(/static/[^"]+)"', page)
        assert addresses
        for address in addresses:
            status, _, caching = get(f"{site}{address}")
            assert (status, "immutable" in caching) == (200, True), address


def test_static_files_are_collected_anew_where_they_differ_from_those_of_this_version(start, environment):
    collected = Path(environment["STOCKQUEUE_VAR"]) / "static"
    check = SERVING["the web server"]
    assert run(*check, **environment).returncode == 0
    manifest, style = collected / "staticfiles.json", collected / "portfolio" / "style.css"
    first, content = manifest.stat().st_mtime_ns, style.read_text()

    assert run(*check, **environment).returncode == 0
    assert manifest.stat().st_mtime_ns == first, "collected again though nothing had changed"

    style.write_text("of another version, and younger than that of this one")
    os.utime(style, ns=(first - 1, first - 1))
    assert run(*check, **environment).returncode == 0
    assert style.read_text() == content

    manifest.unlink()
    assert run(*check, **environment).returncode == 0
    assert manifest.exists()


def test_a_web_server_waits_while_another_one_collects(start, environment):
    collected = Path(environment["STOCKQUEUE_VAR"]) / "static"
    collected.mkdir(mode=0o700, parents=True)
    waiting = re.compile(rf"-> FLOCK .*:{collected.stat().st_ino} ")
    with start(*SERVING["the web server"], ready="", **environment) as process:
        with locked(collected):
            wait_until(lambda: bool(waiting.search(Path("/proc/locks").read_text())), "the wait", process=process)
            assert list(collected.iterdir()) == []
        assert process.wait(120) == 0
    assert (collected / "staticfiles.json").exists()


def test_static_files_that_cannot_be_collected_are_told_in_one_line(environment):
    collected = Path(environment["STOCKQUEUE_VAR"]) / "static"
    collected.mkdir(mode=0o700, parents=True)
    (collected / "portfolio").touch()
    ended = run(*SERVING["the web server"], **environment)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"static files: cannot be collected in {str(collected)!r}: ")
