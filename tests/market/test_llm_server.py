"""An LLM's server that fails, is slow, or is at an address that must not be asked: the rule answers instead."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from market.models import Analysis, LlmDay
from stockqueue.config.llm_address import LlmServer
from tests.support.certificates import make_server_context
from tests.support.jobs import result_of, run_once
from tests.support.sentiment_jobs import TOKENS, fell_back
from tests.support.sentiment_jobs import request_sentiment as request
from tests.support.standins.openai_standin import KEY, MODEL, OpenAIStandIn

pytestmark = pytest.mark.django_db


# The server goes wrong


def test_a_server_that_fails_is_asked_a_second_time_and_no_more(llm, in_the_news):
    llm.misbehave("server_error", times=1)
    assert run_once(request(in_the_news)).outcome == "updated"
    assert len(llm.asked) == 2
    Analysis.objects.all().delete()
    llm.misbehave("server_error")
    fell_back(run_once(request(in_the_news)), "it answered 500")
    assert len(llm.asked) == 4
    assert LlmDay.objects.get().tokens == TOKENS  # of the good answer


def test_too_many_requests_are_tried_again_once(llm, in_the_news):
    llm.misbehave("rate_limited")
    fell_back(run_once(request(in_the_news)), "it refused the request: rate limit or quota exceeded (429)")
    assert len(llm.asked) == 2
    assert LlmDay.objects.get().tokens == 0


def test_a_pause_that_the_deadline_does_not_allow_is_not_made(llm, in_the_news):
    llm.misbehave("rate_limited", retry_after="120")
    fell_back(run_once(request(in_the_news)), "it refused the request: rate limit or quota exceeded (429)")
    assert len(llm.asked) == 1


@pytest.mark.parametrize("how", ["drip", "drip_head", "hang"])
@pytest.mark.parametrize(
    ("deadline", "timeout", "told"), [(0.5, 60, "0.5 s"), (60, 0.4, "0.4 s")], ids=["llm_timeout", "timeout"]
)
def test_the_deadline_holds_however_slowly_an_answer_comes(llm, in_the_news, configured, how, deadline, timeout, told):
    configured(**{"stock_jobs.analysis.llm_timeout": deadline, "integration.apis.openai.timeout": timeout})
    llm.misbehave(how)
    found = fell_back(run_once(request(in_the_news)), f"it did not answer within {told}")
    assert found.tokens is None
    assert LlmDay.objects.get().tokens > 1000  # nobody knows what that took


def test_a_name_service_that_hangs_does_not_outlast_the_deadline(llm, in_the_news, configured, settings, monkeypatch):
    configured(**{"stock_jobs.analysis.llm_timeout": 0.3})
    settings.LLM = LlmServer("https://llm.example/v1", MODEL, KEY)
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        released.wait()
        raise socket.gaierror("too late")

    monkeypatch.setattr("market.llm.hosts.socket.getaddrinfo", hang)
    try:
        fell_back(run_once(request(in_the_news)), "it did not answer within 0.3 s")
    finally:
        released.set()


def test_a_redirect_is_not_followed(llm, in_the_news):
    llm.misbehave("redirect")
    fell_back(run_once(request(in_the_news)), "it redirects (307), and redirects are not followed")
    assert len(llm.asked) == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("drop", "the connection to it broke (RemoteProtocolError)"),
        ("broken_status", "the connection to it broke (RemoteProtocolError)"),
        ("endless", "its answer is larger than 1 MiB"),
        ("compressed", "its answer is compressed, although the request forbids it"),
    ],
)
def test_what_is_no_answer_is_told_as_what_it_is(llm, in_the_news, how, reason):
    llm.misbehave(how)
    fell_back(run_once(request(in_the_news)), reason)


def test_a_server_that_is_not_there_costs_nothing(llm, in_the_news, settings):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        settings.LLM = LlmServer(f"http://127.0.0.1:{bound.getsockname()[1]}/v1", MODEL, KEY, allow_private=True)
        job = run_once(request(in_the_news))
    assert result_of(job)["reason"].startswith("the LLM was not used: it could not be reached: ")
    assert LlmDay.objects.get().tokens == 0


def test_a_wrong_path_is_told_with_what_may_be_missing(llm, in_the_news, settings):
    settings.LLM = LlmServer(llm.url.removesuffix("/v1"), MODEL, KEY, allow_private=True)
    fell_back(
        run_once(request(in_the_news)), f"it has no model '{MODEL}', or OPENAI_BASE_URL lacks a part such as /v1 (404)"
    )


@pytest.mark.parametrize("how", ["server_error", "rate_limited", "broken_status", "drip_head", "redirect"])
def test_the_key_is_in_no_log_and_no_error(llm, in_the_news, configured, caplog, how):
    caplog.set_level("DEBUG")
    configured(**{"stock_jobs.analysis.llm_timeout": 0.5})
    llm.misbehave(how)
    job = run_once(request(in_the_news))
    assert job.outcome == "partial"
    assert "the LLM was not used" in json.dumps(result_of(job))
    assert any(record.name == "market.llm" for record in caplog.records)
    assert KEY not in caplog.text + json.dumps(result_of(job)) + json.dumps(Analysis.objects.get().values)


# Where it is


@pytest.fixture
def names(monkeypatch) -> Callable[..., list[str]]:
    """names(host=[addresses]): what the name service answers, nothing for []; the names that were asked for."""

    def answer(**known: list[str]) -> list[str]:
        asked: list[str] = []
        real = socket.getaddrinfo

        def getaddrinfo(host: str, *rest: Any, **options: Any) -> Any:
            if host not in known:
                return real(host, *rest, **options)
            asked.append(host)
            if not known[host]:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return answer


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["169.254.169.254"], "169.254.169.254 is link-local or a cloud's metadata service, which is never allowed"),
        (["127.0.0.1"], "127.0.0.1 is private; OPENAI_ALLOW_PRIVATE_HOST=1 allows it"),
        (["8.8.8.8", "10.0.0.1"], "10.0.0.1 is private; OPENAI_ALLOW_PRIVATE_HOST=1 allows it"),
    ],
)
def test_a_name_that_stands_for_an_address_of_ours_is_refused(in_the_news, settings, names, addresses, reason):
    names(llm=addresses)
    settings.LLM = LlmServer("https://llm/v1", MODEL, KEY)
    fell_back(run_once(request(in_the_news)), f"llm resolves to a forbidden address: {reason}")
    assert LlmDay.objects.get().tokens == 0


def test_a_metadata_service_is_refused_though_private_hosts_are_allowed(llm, in_the_news, settings, names):
    names(metadata=["169.254.169.254"])
    settings.LLM = LlmServer(f"http://metadata:{llm.port}/v1", MODEL, KEY, allow_private=True)
    assert "is link-local or a cloud's metadata service" in result_of(run_once(request(in_the_news)))["reason"]
    assert llm.asked == []


def test_a_public_host_without_tls_is_refused_at_the_call(in_the_news, settings, names):
    names(llm=["8.8.8.8"])
    settings.LLM = LlmServer("http://llm/v1", MODEL, KEY, allow_private=True)
    assert "http:// would send the key unencrypted" in result_of(run_once(request(in_the_news)))["reason"]


def test_what_was_judged_is_what_is_connected_to(llm, in_the_news, settings, names):
    asked = names(llm=["127.0.0.1"])
    settings.LLM = LlmServer(f"http://llm:{llm.port}/v1", MODEL, KEY, allow_private=True)
    assert run_once(request(in_the_news)).outcome == "updated"
    assert asked == ["llm"]  # a second look could have told another address
    assert llm.asked[0].headers["host"] == f"llm:{llm.port}"


def test_an_address_that_does_not_answer_gives_way_to_the_next(llm, in_the_news, settings, names):
    names(llm=["127.0.0.2", "127.0.0.1"])
    settings.LLM = LlmServer(f"http://llm:{llm.port}/v1", MODEL, KEY, allow_private=True)
    assert run_once(request(in_the_news)).outcome == "updated"


def test_an_address_of_version_6_is_asked_as_well(llm, in_the_news, settings):
    with OpenAIStandIn(host="::1") as server:
        settings.LLM = LlmServer(f"http://[::1]:{server.port}/v1", MODEL, KEY, allow_private=True)
        assert run_once(request(in_the_news)).outcome == "updated"
        assert server.asked[0].headers["host"] == f"[::1]:{server.port}"


@pytest.mark.parametrize("host", ["nowhere", "x" * 70, "a..b"])
def test_a_name_that_stands_for_nothing_is_told(in_the_news, settings, names, host):
    names(nowhere=[])
    settings.LLM = LlmServer(f"https://{host}/v1", MODEL, KEY)
    job = run_once(request(in_the_news))
    assert result_of(job)["reason"].startswith("the LLM was not used: it could not be reached: ")
    assert LlmDay.objects.get().tokens == 0


@pytest.fixture
def tls_server(tmp_path, monkeypatch) -> Iterator[OpenAIStandIn]:
    """One at https://llm-tls, whose authority this process trusts."""
    ca_bundle = tmp_path / "ca.pem"
    context: ssl.SSLContext = make_server_context(ca_bundle, ["llm-tls"])
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_bundle))
    with OpenAIStandIn(context) as server:
        yield server


def test_with_tls_the_certificate_is_that_of_the_name_and_not_of_the_address(tls_server, in_the_news, settings, names):
    names(**{"llm-tls": ["127.0.0.1"], "another": ["127.0.0.1"]})
    settings.LLM = LlmServer(f"https://llm-tls:{tls_server.port}/v1", MODEL, KEY, allow_private=True)
    job = run_once(request(in_the_news))
    assert job.outcome == "updated", result_of(job)
    Analysis.objects.all().delete()
    settings.LLM = LlmServer(f"https://another:{tls_server.port}/v1", MODEL, KEY, allow_private=True)
    assert "CERTIFICATE_VERIFY_FAILED" in result_of(run_once(request(in_the_news)))["reason"]
    assert len(tls_server.asked) == 1
