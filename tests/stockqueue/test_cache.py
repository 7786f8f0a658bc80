"""The cache of answers, in a real Redis and in files, and what a cache that fails costs."""

import logging
import os
import stat
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis
import time_machine
from django.core.cache import caches

from stockqueue import cache
from stockqueue.cache import Kind
from stockqueue.cache_files import MOST_IN_A_SHARD, SHARDS
from stockqueue.cache_values import LARGEST_VALUE, dump, load
from stockqueue.config.cache_settings import cache_settings, redis_url
from stockqueue.config.queues import Redis
from stockqueue.config.sections import JobProcessor
from tests.support.configuration import with_value
from tests.support.servers import RedisServer

ANSWER = {"close": [1.5, None], "date": ["2026-11-30"]}


@pytest.fixture
def in_files(settings, tmp_path):
    """in_files(): a cache in the files of a folder that does not exist yet."""
    settings.CACHES = cache_settings(settings.JOB_PROCESSOR, "amqp://", tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def in_redis(settings, tmp_path):
    """in_redis(url): the cache is in this Redis."""

    def in_redis(url: str) -> None:
        config = with_value(settings.JOB_PROCESSOR, "integration.cache.redis_enabled", True)
        settings.CACHES = cache_settings(config, url, tmp_path)
        cache._known.clear()

    return in_redis


@pytest.fixture(params=["files", "redis"])
def any_cache(request, redis_server, in_redis, in_files) -> None:
    if request.param == "redis":
        redis.Redis.from_url(redis_server.url).flushall()
        in_redis(redis_server.url)


class Computed:
    """A computation that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> dict[str, Any]:
        self.runs += 1
        return ANSWER


def test_a_second_reader_of_the_same_key_computes_nothing(any_cache):
    compute = Computed()
    assert [cache.cached(Kind.CHART, ["AAPL", 1], compute) for _ in range(3)] == [ANSWER] * 3
    assert compute.runs == 1


def test_a_key_with_a_later_change_is_another_key(any_cache):
    compute = Computed()
    cache.cached(Kind.CHART, ["AAPL", 1], compute)
    cache.cached(Kind.CHART, ["AAPL", 2], compute)
    cache.cached(Kind.VALUE_HISTORY, ["AAPL", 2], compute)
    assert compute.runs == 3


def test_a_claim_is_given_to_one_caller_until_it_ends(any_cache):
    assert [cache.claim(Kind.SEARCH, ["apple"], 60) for _ in range(3)] == [True, False, False]
    cache.release(Kind.SEARCH, ["apple"])
    assert cache.claim(Kind.SEARCH, ["apple"], 60)


def test_hits_and_misses_are_counted_by_kind(any_cache):
    for _ in range(4):
        cache.cached(Kind.CHART, ["AAPL"], Computed())
    uses = cache.uses_of_last_hour()
    assert uses is not None
    assert (uses["chart", "hits"], uses["chart", "misses"], uses["search", "hits"]) == (3, 1, 0)


def test_a_number_counts_up(any_cache):
    assert [cache.count_up(Kind.SEARCH, ["user", 1], 60) for _ in range(3)] == [1, 2, 3]


def test_values_in_redis_are_no_pickles_and_expire(redis_server, in_redis):
    in_redis(redis_server.url)
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    cache.put(Kind.CHART, ["AAPL"], ANSWER, 100)
    (key,) = client.keys("stockqueue.cache:*")
    stored: Any = client.get(key)
    assert load(stored) == ANSWER
    assert 0 < client.ttl(key) <= 100


def test_a_stranger_s_value_in_redis_is_a_miss(redis_server, in_redis):
    in_redis(redis_server.url)
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    cache.put(Kind.CHART, ["AAPL"], ANSWER)
    (key,) = client.keys("stockqueue.cache:*")
    for value in (b"\x80\x04N.", dump("x" * 1000)[:-3], b"", b"[" * 10_000):
        client.set(key, value)
        assert cache.get(Kind.CHART, ["AAPL"]) is None


def test_a_value_that_unpacks_to_too_much_is_a_miss():
    assert load(zlib.compress(b'"' + b"x" * 10 * LARGEST_VALUE + b'"')) is None
    with pytest.raises(ValueError, match="too many"):
        dump("x" * LARGEST_VALUE)


def test_a_value_too_large_is_returned_and_not_kept(any_cache):
    large = "x" * LARGEST_VALUE
    assert cache.cached(Kind.CHART, ["AAPL"], lambda: large) == large
    assert cache.get(Kind.CHART, ["AAPL"]) is None
    assert cache.put(Kind.CHART, ["MSFT"], ANSWER)


def test_files_take_the_place_of_a_redis_that_is_away(in_redis, caplog):
    in_redis("redis://127.0.0.1:1/0")
    compute = Computed()
    with caplog.at_level(logging.WARNING):
        assert [cache.cached(Kind.CHART, ["AAPL"], compute) for _ in range(3)] == [ANSWER] * 3
    assert compute.runs == 1
    assert len(caplog.records) == 1
    assert "RedisCache fails" in caplog.text


def test_a_redis_that_hangs_delays_one_answer_by_half_a_second(in_redis):
    with RedisServer() as server:
        in_redis(server.url)
        cache.put(Kind.CHART, ["AAPL"], ANSWER)
        server.pause()
        start = time.monotonic()
        for number in range(20):
            cache.cached(Kind.CHART, ["MSFT", number], Computed())
        assert time.monotonic() - start < 1.0
        server.resume()


def test_files_take_what_a_full_redis_refuses_and_redis_is_still_read(in_redis, caplog):
    with RedisServer() as server:
        in_redis(server.url)
        cache.put(Kind.CHART, ["AAPL"], ANSWER)
        client = redis.Redis.from_url(server.url)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        compute = Computed()
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert cache.cached(Kind.CHART, ["AAPL"], compute) == ANSWER
        assert compute.runs == 0
        assert [cache.cached(Kind.CHART, ["MSFT"], compute) for _ in range(3)] == [ANSWER] * 3
        assert compute.runs == 1
        assert cache.claim(Kind.SEARCH, ["apple"], 60)
        assert not cache.claim(Kind.SEARCH, ["apple"], 60)
        assert len(caplog.records) == 1


def test_redis_is_used_again_after_the_pause(in_redis, monkeypatch):
    monkeypatch.setattr(cache, "PAUSE", 0.0)
    with RedisServer() as server:
        server.stop()
        in_redis(server.url)
        cache.put(Kind.CHART, ["AAPL"], ANSWER)
        server.start()
        cache.put(Kind.CHART, ["MSFT"], ANSWER)
        assert redis.Redis.from_url(server.url).keys("stockqueue.cache:*chart*")


def test_without_any_working_cache_answers_are_computed(in_redis, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    in_redis("redis://127.0.0.1:1/0")
    compute = Computed()
    assert [cache.cached(Kind.CHART, ["AAPL"], compute) for _ in range(2)] == [ANSWER] * 2
    assert compute.runs == 2
    assert not cache.claim(Kind.SEARCH, ["apple"], 60)
    assert cache.count_up(Kind.SEARCH, ["user"], 60) is None


def test_a_folder_that_others_may_write_to_is_not_used(in_files, caplog):
    in_files.mkdir()
    in_files.chmod(0o777)
    assert not cache.put(Kind.CHART, ["AAPL"], ANSWER)
    assert "other users may write there" in caplog.text


def test_the_files_are_private(in_files):
    cache.put(Kind.CHART, ["AAPL"], ANSWER)
    found = [in_files, *in_files.rglob("*")]
    assert len(found) == 3
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in found} == {0}


def test_an_entry_expires(in_files):
    with time_machine.travel("2026-11-30 12:00", tick=False) as now:
        cache.put(Kind.CHART, ["AAPL"], ANSWER, 60)
        now.shift(59)
        assert cache.get(Kind.CHART, ["AAPL"]) == ANSWER
        now.shift(2)
        assert cache.get(Kind.CHART, ["AAPL"]) is None
        assert cache.claim(Kind.CHART, ["AAPL"], 60)
        now.shift(61)
        assert cache.claim(Kind.CHART, ["AAPL"], 60)


def test_a_broken_file_is_a_miss(in_files):
    cache.put(Kind.CHART, ["AAPL"], ANSWER)
    (file,) = in_files.rglob("*.entry")
    until = file.stat().st_mtime
    file.write_bytes(file.read_bytes()[:10])
    os.utime(file, (until, until))
    assert cache.get(Kind.CHART, ["AAPL"]) is None


def test_the_number_of_files_is_bounded(in_files, monkeypatch):
    monkeypatch.setattr("stockqueue.cache_files.SHARDS", 2)
    for number in range(100):
        cache.put(Kind.CHART, [number], ANSWER)
    assert len(list(in_files.rglob("*.entry"))) == 2 * MOST_IN_A_SHARD
    assert SHARDS * MOST_IN_A_SHARD == 4096


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("redis://:word@host:6380/3?socket_timeout=9", "redis://:word@host:6380/3"),
        ("redis+socket:///run/redis.sock?virtual_host=2", "unix:///run/redis.sock?db=2"),
        ("redis+socket:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("rediss://host/1?ssl_cert_reqs=CERT_REQUIRED", "rediss://host/1?ssl_cert_reqs=required"),
        ("rediss://host/1?ssl_ca_certs=/A.pem", "rediss://host/1?ssl_ca_certs=%2FA.pem"),
        ("amqp://guest@rabbit", "redis://:a%2Fb@redis.example:6379/5"),
    ],
)
def test_the_cache_is_in_the_broker_s_redis_or_in_the_configured_one(broker, expected):
    section = Redis(host="redis.example", password="a/b", database=5)
    assert redis_url(broker, section) == expected


class _RedisWithSocket(RedisServer):
    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    def _command(self) -> list[str]:
        return [*super()._command(), "--unixsocket", str(self.socket)]


def test_a_redis_behind_a_socket_is_reached(in_redis):
    with _RedisWithSocket() as server:
        in_redis(f"redis+socket://{server.socket}?virtual_host=0")
        cache.put(Kind.CHART, ["AAPL"], ANSWER)
        assert caches["files"].get("anything") is None
        assert redis.Redis.from_url(server.url).keys("stockqueue.cache:*chart*")


def test_the_predecessor_s_folder_is_below_the_program_s(tmp_path):
    config = with_value(JobProcessor(), "integration.cache.file_cache_path", "cache/stock_data")
    assert cache_settings(config, "amqp://", tmp_path)["default"]["LOCATION"] == f"{tmp_path}/cache/stock_data"
