"""Programs on this machine may read /metrics, and others with the token."""

import pytest

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database_answers")]

TOKEN = "a-long-random-text"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_programs_on_this_machine_may_read(client, address):
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == 200


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "::ffff:10.0.0.1", "", "unix:"])
def test_others_may_not_and_are_told_how(client, address, settings):
    settings.METRICS_TOKEN = TOKEN
    answer = client.get("/metrics", REMOTE_ADDR=address)
    assert answer.status_code == 403
    assert "Authorization: Bearer" in answer.content.decode()
    assert "STOCKQUEUE_METRICS_TOKEN" in answer.content.decode()
    assert TOKEN not in answer.content.decode()


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto", "X-Forwarded-Host"]
)
def test_behind_a_proxy_on_this_machine_the_token_is_needed(client, header, settings):
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 403
    settings.METRICS_TOKEN = TOKEN
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 403
    with_token = {header: "192.0.2.7", "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/metrics", headers=with_token).status_code == 200


@pytest.mark.parametrize(
    ("token", "header", "code"),
    [
        (TOKEN, f"Bearer {TOKEN}", 200),
        (TOKEN, f"Bearer {TOKEN}x", 403),
        (TOKEN, "Bearer ", 403),
        (TOKEN, TOKEN, 403),
        (TOKEN, "Bearer größe", 403),
        (None, "Bearer None", 403),
        (None, "Bearer ", 403),
        (None, "", 403),
    ],
)
def test_from_elsewhere_only_the_token_counts(client, settings, token, header, code):
    settings.METRICS_TOKEN = token
    answer = client.get("/metrics", REMOTE_ADDR="192.0.2.7", headers={"Authorization": header})
    assert answer.status_code == code


def test_metrics_can_be_switched_off_and_are_only_read(client, configured):
    assert client.post("/metrics").status_code == 405
    assert client.head("/metrics").status_code == 200
    configured(**{"monitoring.enabled": False})
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 404
