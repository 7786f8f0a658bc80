"""What is wrong in a configuration file is named in one line, with its key and what would be right."""

import datetime
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stockqueue.config import ConfigError, json_schema, load_config
from stockqueue.config.sections import JobProcessor
from tests.support.configuration_keys import KEYS


def nest(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def test_passwords_are_not_in_the_representation():
    config = JobProcessor.model_validate({"queue": {name: {"password": "s3cret"} for name in ("mqtt", "redis")}})
    assert config.queue.redis.password == "s3cret"
    assert "s3cret" not in repr(config) + str(config)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("jobs.priority_rules.user_login", "11", "11 is not between 1 and 10"),
        ("jobs.priority_rules.user_login", "0", "0 is not between 1 and 10"),
        ("jobs.max_retries", "-1", "-1 is not between 0 and 100"),
        ("queue.priority_queues.foreground.priority", "7", "7 is not between 1 and 3"),
        ("queue.priority_queues.background_fetch.priority", "1", "1 is not between 4 and 6"),
        ("queue.priority_queues.background_analysis.priority", "1", "1 is not between 7 and 10"),
        ("queue.mqtt.port", "65536", "65536 is not between 1 and 65535"),
        ("queue.mqtt.port", '"1883"', "'1883' is not a whole number between 1 and 65535"),
        ("queue.mqtt.port", "1883.0", "1883.0 is not a whole number between 1 and 65535"),
        ("queue.mqtt.port", "true", "true is not a whole number between 1 and 65535"),
        ("queue.mqtt.port", "null", "null is not a whole number between 1 and 65535"),
        ("queue.mqtt.port", "[1883]", "a list is not a whole number between 1 and 65535"),
        ("queue.mqtt.port", "0x" + "f" * 9000, "a number of more than 60 digits is not between 1 and 65535"),
        ("queue.mqtt.host", "5", "5 is not text; put it in quotes"),
        ("queue.mqtt.host", "2024-01-31", "2024-01-31 is not text; put it in quotes"),
        ("queue.mqtt.host", "''", "'' is not text of 1 to 4096 characters"),
        ("queue.mqtt.host", '"a\\0b"', r"'a\x00b' contains a control character"),
        ("queue.mqtt.protocol", "3.1", "3.1 is not 5 or 3.1.1"),
        ("queue.mqtt.protocol", "true", "true is not 5 or 3.1.1"),
        ("queue.mqtt.password", "12345", "the value (not shown) is not text; put it in quotes"),
        ("queue.mqtt.password", '"12\\n345"', "the value (not shown) contains a control character"),
        ("queue.redis.password", "[12345]", "the value (not shown) is not text"),
        (
            "queue.backend",
            "kafka",
            "'kafka' is not celery or redis or rabbitmq or direct or mqtt or database",
        ),
        ("monitoring.enabled", '"yes"', "'yes' is not true or false"),
        ("monitoring.enabled", "1", "1 is not true or false"),
        ("monitoring.thresholds.min_worker_efficiency", "70", "70 is not between 0 and 1"),
        ("monitoring.thresholds.min_instant_logins", "1.1", "1.1 is not between 0 and 1"),
        ("stock_jobs.analysis.llm_timeout", '"abc"', "'abc' is not a number between 0.1 and 86400"),
        ("stock_jobs.analysis.llm_timeout", "true", "true is not a number between 0.1 and 86400"),
        ("stock_jobs.analysis.llm_timeout", ".nan", ".nan is not a number between 0.1 and 86400"),
        ("stock_jobs.analysis.llm_timeout", ".inf", ".inf is not a number between 0.1 and 86400"),
        ("stock_jobs.analysis.llm_timeout", "-.inf", "-.inf is not a number between 0.1 and 86400"),
        ("stock_jobs.data_fetch.retry_backoff", "30", "30 is not a list"),
        ("stock_jobs.data_fetch.retry_backoff", "[]", "an empty list is not a list of 1 to 20 entries"),
        ("portfolio.priority_factors.user_activity", "-0.4", "-0.4 is not between 0 and 1"),
        ("market.watchlist", "{AAPL: 1}", "a mapping is not a list"),
        ("logging.max_size", "many", "'many' is not a size in bytes such as 52428800 or 50MB"),
        ("logging.max_size", "true", "true is not a whole number between 0 and 1099511627776"),
        ("logging.max_size", "-1", "-1 is not between 0 and 1099511627776"),
        ("worker", "5", "5 is not a mapping of keys"),
        ("worker", "[]", "an empty list is not a mapping of keys"),
        ("worker.name", "x" * 5000, f"'{'x' * 56}... is not text of 1 to 4096 characters"),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_what_was_expected(complain, path, value, words):
    *parents, last = f"job_processor.{path}".split(".")
    text = "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(parents))
    text += f"{'  ' * len(parents)}{last}: {value}\n"
    assert complain(text) == f"job_processor.yml: job_processor.{path}: {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "job_processor: {worker: {max_jobs: 5}}",
            "job_processor.worker.max_jobs: unknown key; did you mean max_concurrent_jobs?",
        ),
        (
            "job_processor: {market: {zzz: 5}}",
            "job_processor.market.zzz: unknown key; expected watchlist",
        ),
        (
            "job_processor: {market: {1: 5}}",
            "job_processor.market.1: unknown key; expected watchlist",
        ),
        (
            'job_processor: {market: {"a\\nb\\e[31m": 5}}',
            "job_processor.market.a\\nb\\x1b[31m: unknown key; expected watchlist",
        ),
        (
            "job_processor: {queue: {mqtt: {topics: {stock_fetched: a}}}}",
            "job_processor.queue.mqtt.topics.stock_fetched: unknown key; did you mean stock_fetch?",
        ),
        (
            "job_processor: {portfolio: {sources: [{csv: a.csv}]}}",
            "job_processor.portfolio.sources.0.csv: unknown key; did you mean csv_file?",
        ),
        (
            "job_processor: {portfolio: {sources: [{}]}}",
            "job_processor.portfolio.sources.0: an empty mapping has neither csv_file nor database_table",
        ),
        (
            "job_processor: {market: {watchlist: [AAPL, ON]}}",
            "job_processor.market.watchlist.1: true is not text; put it in quotes",
        ),
        (
            "job_processor: {stock_jobs: {data_fetch: {retry_backoff: [30, -1]}}}",
            "job_processor.stock_jobs.data_fetch.retry_backoff.1: -1 is not between 0 and 86400",
        ),
        (
            "job_processor: {stock_jobs: {data_fetch: {sources: [bloomberg]}}}",
            "job_processor.stock_jobs.data_fetch.sources.0: "
            "'bloomberg' is not yahoo_finance or alpha_vantage or cached or sample",
        ),
        (
            "job_processor: {worker: {name: 5, worker_id: 6, hearts: 7}}",
            "job_processor.worker.worker_id: 6 is not text; put it in quotes (and 2 more)",
        ),
        (
            "job_processor: {portfolio: {priority_factors: {user_activity: 0.5}}}",
            "job_processor.portfolio.priority_factors: a mapping of weights adds up to 1.1, not to 1: "
            "user_activity 0.5 + portfolio_value 0.3 + data_age 0.2 + market_volatility 0.1",
        ),
        (
            "job_processor: {ignored: [], notes: []}",
            "job_processor.ignored: unknown key; expected worker, queue, ",
        ),
        ("job_processor: 5", "job_processor: 5 is not a mapping of keys"),
        ("job_processor: []", "job_processor: an empty list is not a mapping of keys"),
        ("worker: {}", "job_processor: the key is missing at the top of the file (and 1 more)"),
        ("job_processor: {}\nprod: {}", "prod: unknown key; did you mean production?"),
        ("job_processor: {}\n1: {}", "1: unknown key; expected job_processor, development, production"),
        ("job_processor: {}\nproduction: 5", "production: 5 is not a mapping of keys"),
        (
            "job_processor: {}\nproduction: {worker: {nam: 5}}",
            "production.worker.nam: unknown key; did you mean",
        ),
        (
            "job_processor: {}\nproduction: {job_processor: {}, worker: {}}",
            "production.worker: does not belong beside production.job_processor",
        ),
        ("", "the file is empty; expected the key job_processor"),
        ("# nothing\n", "the file is empty; expected the key job_processor"),
        ("- job_processor", "a list at the top; expected a mapping with the key job_processor"),
        ("hello", "'hello' at the top; expected a mapping with the key job_processor"),
        ("job_processor: {}\n---\njob_processor: {}", "line 2, column 1: expected a single document"),
        (
            "job_processor: {}\njob_processor: {}",
            "line 2, column 1: the key 'job_processor' is on line 1 already",
        ),
        (
            "job_processor: {worker: {name: a, name: a}}",
            "line 1, column 35: the key 'name' is on line 1 already",
        ),
        (
            "job_processor:\n  worker: !!python/object/apply:os.system [ls]",
            "line 2, column 11: a tag is not allowed",
        ),
        ("job_processor:\n  worker: !!str a", "line 2, column 11: a tag is not allowed"),
        ("job_processor: {queue: {mqtt: {password: !s3cret }}}", "line 1, column 42: a tag is not allowed"),
        ("job_processor: {queue: {mqtt: {password: *s3cret}}}", "line 1, column 42: an alias without an anchor"),
        ("job_processor: &a [*a]", "line 1, column 20: an alias that contains itself"),
        ("job_processor: {a: &a x, b: [" + "*a, " * 9 + "]}", "line 1, column 62: more than 8 aliases"),
        ("job_processor: " + "[" * 100_000, "line 1, column 35: more than 20 levels of nesting"),
        (
            "job_processor:\n\tworker: {}",
            "line 2, column 1: while scanning for the next token: found character",
        ),
        (
            "job_processor: {worker: {}",
            "line 1, column 27: while parsing a flow mapping: expected ',' or '}'",
        ),
        ("job_processor: {worker: {name: 2024-02-31}}", "line 1, column 32: an impossible date or number"),
        ("job_processor: {worker: {name: 0b_}}", "line 1, column 32: an impossible date or number"),
        ("a: 0" + ":0" * 200 + ".0", "line 1, column 4: an impossible date or number"),
        (
            "job_processor: {? [a] : b}",
            "line 1, column 19: while constructing a mapping: found unhashable key",
        ),
        ('job_processor: {worker: {name: "\\ud800"}}', "line 1, column 32: an incomplete character"),
        (b"job_processor:\n  worker: {name: \xff}", "line 2: not UTF-8 text"),
        (b"job_processor:\n  worker: {name: \x00}", "line 2: a character that YAML does not allow"),
        (b"#" * (1024 * 1024 + 1), "larger than 1024 KiB"),
    ],
)
def test_a_bad_file_is_named_with_the_place_of_its_error(complain, text, words):
    message = complain(text)
    assert message.startswith(f"job_processor.yml: {words}")
    assert "s3cret" not in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("name", "topic", "words"),
    [
        ("stock_fetch", "stock/+/x", "contains + or #, which are only allowed in subscriptions"),
        ("stock_fetch", "stock/#", "contains + or #, which are only allowed in subscriptions"),
        ("stock_fetch", "$SYS/fetch/{symbol}", "starts with $, which is reserved for the broker"),
        ("stock_fetch", "stock/{ticker}", "may contain braces only in {symbol}"),
        ("stock_fetch", "stock/{symbol.__class__}", "may contain braces only in {symbol}"),
        ("stock_fetch", "stock/{symbol!r:>10}", "may contain braces only in {symbol}"),
        ("stock_fetch", "stock/{{symbol}}", "may contain braces only in {symbol}"),
        ("stock_fetch", "stock/\0", "contains a control character"),
        ("stock_fetch", "", "is not text of 1 to 1024 characters"),
        ("system_stats", "system/{name}", "must not contain braces"),
        ("job_queue", "jobs/queue/{priority}", "lacks {job_type}"),
        ("job_completed", "jobs/completed", "lacks {job_id}"),
    ],
)
def test_a_topic_that_cannot_be_published_to_is_refused(complain, name, topic, words):
    message = complain(yaml.safe_dump({"job_processor": nest(f"queue.mqtt.topics.{name}", topic)}))
    assert message.startswith(f"job_processor.yml: job_processor.queue.mqtt.topics.{name}: '")
    assert message.endswith(words)


def test_an_alias_bomb_is_refused_before_it_is_expanded(complain):
    text = "a: &a [x, x]\n"
    for here, before in zip("bcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxy", strict=True):
        text += f"{here}: &{here} [{', '.join([f'*{before}'] * 9)}]\n"
    assert complain(text) == "job_processor.yml: line 2, column 40: more than 8 aliases"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^missing\.yml: no such file: /.*/missing\.yml$"):
        load_config(tmp_path / "missing.yml", "development")


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"is a folder, not a file$"):
        load_config(tmp_path, "development")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yml")
    with pytest.raises(ConfigError, match=r"is not a file$"):
        load_config(tmp_path / "pipe.yml", "development")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    # Simulated, as root may read everything.
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "job_processor.yml"
    path.write_text("job_processor: {}")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"^job_processor\.yml: cannot be read: Permission denied \(/"):
        load_config(path, "development")


@pytest.mark.parametrize("name", ["a\nb.yml", "a\0b.yml", "x" * 5000])
def test_a_strange_file_name_makes_one_line(tmp_path, name):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / name, "development")
    assert str(caught.value).isprintable()


def test_an_unknown_environment_is_refused(complain):
    assert complain("job_processor: {}", "staging") == (
        "job_processor.yml: unknown environment 'staging'; expected development or production"
    )


class PlainDumper(yaml.SafeDumper):
    """Without aliases for a value that occurs twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def find_error(path: Path) -> ConfigError | None:
    try:
        load_config(path, "development")
    except ConfigError as error:
        return error
    return None


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 5, 10, 11, 0.5, 1.0, -0.0, 10**400])
    | st.floats()
    | st.text()
    | st.sampled_from(["", "a/{symbol}", "50MB", "redis", "INFO", "x" * 5000, "\x7f", "é\u2028"])
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)
WEIGHTS = "portfolio.priority_factors"
SECTIONS = {path.rpartition(".")[0] for path in KEYS} - {""}


@settings(max_examples=400, deadline=None)
@given(
    path=st.sampled_from(sorted({*KEYS, *SECTIONS})),
    value=VALUES,
    place=st.sampled_from(["job_processor", "development.job_processor", "production"]),
)
@example(path="portfolio.priority_factors.data_age", value=0, place="job_processor")
@example(path="market.watchlist", value={datetime.date(2024, 1, 1): 1, None: 2, 1.5: 3}, place="production")
def test_any_value_at_any_key_loads_or_is_refused_in_one_line(file, path, value, place):
    content = {"job_processor": {}} | nest(f"{place}.{path}", value)
    file.write_text(yaml.dump(content, Dumper=PlainDumper))
    error = find_error(file)
    if error is None:
        jsonschema.Draft7Validator(json_schema()).validate(content)
    else:
        assert str(error).isprintable()
        # That the weights do not sum to 1 is an error of them all.
        named = WEIGHTS if path.startswith(WEIGHTS) and "adds up" in str(error) else path
        assert str(error).startswith(f"job_processor.yml: {place}.{named}")


@settings(max_examples=200, deadline=None)
@given(
    text=st.text()
    | st.lists(st.sampled_from(["job_processor", ":", " ", "\n", "-", "{", "}", "&a", "*a"])).map("".join)
)
def test_any_text_loads_or_is_refused_in_one_line(file, text):
    file.write_text(text)
    assert str(find_error(file)).isprintable()
