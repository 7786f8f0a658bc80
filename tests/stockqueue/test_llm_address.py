"""Which addresses of an LLM are refused, at the start and once its name is known to stand for one."""

from ipaddress import ip_address

import pytest

from stockqueue.config import ConfigError
from stockqueue.config.integration import OpenAI
from stockqueue.config.llm_address import OPENAI_URL, LlmServer, llm_server
from tests.stockqueue.test_start import run

MODEL = {"OPENAI_MODEL": "m"}


def read(allow_private: bool = False, **environ: str) -> LlmServer | None:
    return llm_server(OpenAI(), environ | MODEL, allow_private=allow_private)


@pytest.mark.parametrize(
    ("url", "allow_private", "reason"),
    [
        ("http://api.example.com/v1", False, "http:// would send the key unencrypted"),
        ("http://8.8.8.8/v1", False, "is public, and http:// would send the key unencrypted"),
        ("http://8.8.8.8/v1", True, "is public, and http:// would send the key unencrypted"),
        ("http://127.0.0.1:8080/v1", False, "is private; OPENAI_ALLOW_PRIVATE_HOST=1 allows it"),
        ("http://localhost:11434/v1", False, "is private; OPENAI_ALLOW_PRIVATE_HOST=1 allows it"),
        ("https://10.1.2.3/v1", False, "is private"),
        ("https://[fd00::1]/v1", False, "is private"),
        ("https://100.64.0.1/v1", False, "is private"),
        ("http://169.254.169.254/v1", True, "is link-local or a cloud's metadata service"),
        ("https://169.254.169.254/v1", True, "is link-local or a cloud's metadata service"),
        ("https://[fe80::1]/v1", True, "is link-local or a cloud's metadata service"),
        ("https://[::ffff:169.254.169.254]/v1", True, "is link-local or a cloud's metadata service"),
        ("https://[64:ff9b::a9fe:a9fe]/v1", True, "is link-local or a cloud's metadata service"),
        ("https://[2002:a9fe:a9fe::]/v1", True, "is link-local or a cloud's metadata service"),
        ("https://[fd00:ec2::254]/v1", True, "is link-local or a cloud's metadata service"),
        ("https://100.100.100.200/v1", True, "is link-local or a cloud's metadata service"),
        ("https://0.0.0.0/v1", True, "is not the address of a host"),
        ("https://[::]/v1", True, "is not the address of a host"),
        ("https://224.0.0.1/v1", True, "is not the address of a host"),
        ("https://user:hidden@api.example.com/v1", True, "contains a user or a password"),
        ("https://hidden@api.example.com/v1", True, "contains a user or a password"),
        ("https://api.example.com/v1?key=hidden", True, "contains a query or a fragment"),
        ("https://api.example.com/v1#hidden", True, "contains a query or a fragment"),
        ("ftp://api.example.com/v1", True, "expected https://host/v1"),
        ("file:///etc/passwd", True, "expected https://host/v1"),
        ("api.example.com/v1", True, "expected https://host/v1"),
        ("https://", True, "expected https://host/v1"),
        ("https://api.example.com:port/v1", True, "expected https://host/v1"),
        ("https://[::1/v1", True, "expected https://host/v1"),
        ("https://api.example.com/v1\nHost: hidden", True, "contains a space or a control character"),
    ],
)
def test_an_address_that_must_not_be_asked_is_refused_at_the_start(url, allow_private, reason):
    with pytest.raises(ConfigError) as refused:
        read(allow_private, OPENAI_BASE_URL=url)
    assert str(refused.value).startswith("OPENAI_BASE_URL: ")
    assert reason in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "allow_private"),
    [
        ("https://api.example.com/v1", False),
        ("https://1.1.1.1/v1", False),
        ("https://[2606:4700::1111]:8443/v1", False),
        ("http://127.0.0.1:8080/v1", True),
        ("http://[::1]:8080/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://ollama:11434/v1", True),
        ("https://10.1.2.3/v1", True),
    ],
)
def test_other_addresses_are_taken_as_they_are(url, allow_private):
    server = read(allow_private, OPENAI_BASE_URL=f" {url}/ ")
    assert server == LlmServer(url, "m", None, allow_private)


def test_a_key_alone_means_openai():
    server = read(OPENAI_API_KEY="sk-secret")
    assert server is not None
    assert (server.base_url, server.api_key) == (OPENAI_URL, "sk-secret")
    assert "sk-secret" not in repr(server)


def test_the_model_is_the_environments_or_the_files():
    url = {"OPENAI_BASE_URL": "https://api.example.com/v1"}
    assert llm_server(OpenAI(), url, allow_private=False) is None
    of_file = llm_server(OpenAI(model="file"), url, allow_private=False)
    of_both = llm_server(OpenAI(model="file"), url | MODEL, allow_private=False)
    assert of_file is not None
    assert of_both is not None
    assert (of_file.model, of_both.model) == ("file", "m")


def test_without_server_and_key_there_is_none():
    assert read() is None


def test_a_key_that_cannot_be_sent_is_refused_without_telling_it():
    with pytest.raises(ConfigError, match=r"^OPENAI_API_KEY: contains control or non-ASCII characters$"):
        read(OPENAI_API_KEY="sk\r\nsecret")


@pytest.mark.parametrize("text", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "127.0.0.1", "10.0.0.1"])
def test_what_a_name_stands_for_is_judged_in_the_same_way(text):
    server = read(OPENAI_BASE_URL="https://api.example.com/v1")
    assert server is not None
    assert server.why_not(ip_address(text))
    assert not server.why_not(ip_address("8.8.8.8"))


def test_a_name_without_tls_must_stand_for_a_private_address():
    server = read(allow_private=True, OPENAI_BASE_URL="http://ollama:11434/v1")
    assert server is not None
    assert not server.why_not(ip_address("172.18.0.2"))
    assert "is public" in server.why_not(ip_address("8.8.8.8"))


def test_every_program_says_in_one_line_that_an_address_is_refused():
    ended = run("manage.py", "check", OPENAI_BASE_URL="http://169.254.169.254/latest", **MODEL)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines() == [
        "OPENAI_BASE_URL: 'http://169.254.169.254': 169.254.169.254 is link-local or a cloud's metadata service, "
        "which is never allowed"
    ]
    ended = run("manage.py", "check", OPENAI_ALLOW_PRIVATE_HOST="perhaps")
    assert ended.stderr.startswith("OPENAI_ALLOW_PRIVATE_HOST: 'perhaps' is not one of")


def test_a_key_without_a_model_is_told_and_stops_nothing():
    ended = run("manage.py", "check", OPENAI_API_KEY="sk-secret")
    assert ended.returncode == 0
    assert "stockqueue.W002" in ended.stderr
    assert "OPENAI_API_KEY is set without a model" in ended.stderr
    assert "sk-secret" not in ended.stderr
