import copy
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stockqueue.config import ConfigError, json_schema, load_config
from stockqueue.config.sections import JobProcessor
from stockqueue.config.values import Section

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "job_processor.yml"
PREDECESSOR = ROOT / "tests" / "support" / "data" / "predecessor.yml"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("config") / "job_processor.yml"


@pytest.fixture
def load(file):
    def write_and_load(text: str | bytes, environment: str = "development") -> JobProcessor:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(file, environment)

    return write_and_load


@pytest.fixture
def complain(load):
    def write_and_get_error(text: str | bytes, environment: str = "development") -> str:
        with pytest.raises(ConfigError) as caught:
            load(text, environment)
        return str(caught.value)

    return write_and_get_error


def nest(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def walk_keys(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The dotted path and schema of every key below a node that is no section."""
    for key, child in node["properties"].items():
        choices = [child, *child.get("anyOf", [])]
        reference = next((choice["$ref"] for choice in choices if "$ref" in choice), None)
        if reference:
            yield from walk_keys(json_schema()["$defs"][reference.rpartition("/")[2]], f"{path}{key}.")
        else:
            yield f"{path}{key}", child


SETTINGS = json_schema()["$defs"]["JobProcessor"]
KEYS = dict(walk_keys(SETTINGS))


def test_a_file_without_keys_has_the_defaults(load):
    assert load("job_processor: {}") == JobProcessor() == load("job_processor:")


def test_the_predecessors_complete_file_loads(load):
    config = load_config(PREDECESSOR, "production")
    assert config.worker.max_concurrent_jobs == 10
    assert config.worker.supported_job_types == ("stock_fetch", "stock_analysis", "portfolio_priority")
    assert config.logging.level == "WARNING"
    assert config.logging.max_size == 100 * 1024 * 1024
    assert config.portfolio.sources[0].csv_file == "Scripts and CSV Files/chatgpt_portfolio_update.csv"
    assert config.portfolio.freshness_schedule is not None
    assert config.portfolio.freshness_schedule.weekend == 720
    assert config.monitoring.enabled is True
    assert config.queue.backend == "celery"


def test_the_predecessors_defaults_are_ours():
    content = yaml.safe_load(PREDECESSOR.read_text())["job_processor"]
    # These have no default there, or one that depends on the installation.
    for path in (
        "worker.name",
        "worker.supported_job_types",
        "worker.capabilities",
        "queue.mqtt.client_id_prefix",
        "portfolio.sources",
        "portfolio.freshness_schedule",
        "logging.file",
        "integration.apis.openai.model",
        "integration.apis.yahoo_finance.retry_count",
        "queue.priority_queues.foreground.topic_prefix",
        "queue.priority_queues.background_fetch.topic_prefix",
        "queue.priority_queues.background_analysis.topic_prefix",
    ):
        *parents, last = path.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        del section[last]
    assert JobProcessor.model_validate(content) == JobProcessor()


def test_what_the_predecessors_file_sets_in_vain_is_said_once():
    config = load_config(PREDECESSOR, "development")
    assert config.ignored == (
        "job_processor.database",
        "job_processor.integration.apis.yahoo_finance.retry_count",
        "job_processor.integration.cache",
        "job_processor.integration.python",
        "job_processor.integration.web_ui",
        "job_processor.monitoring.port",
        "job_processor.portfolio.sources.1.database_table",
        "job_processor.queue.priority_queues.background_analysis.topic_prefix",
        "job_processor.queue.priority_queues.background_fetch.topic_prefix",
        "job_processor.queue.priority_queues.foreground.topic_prefix",
        "job_processor.worker.capabilities",
        "job_processor.worker.poll_interval",
    )
    assert len(config.notes) == len(config.ignored) + 1
    assert config.notes[0] == "job_processor.database is ignored: DATABASE_URL names the database."
    assert config.notes[-1].startswith("job_processor.queue.backend: mqtt means celery here")


def test_an_ignored_key_that_an_environment_alone_sets_is_named_there(load):
    config = load("job_processor: {}\ndevelopment: {job_processor: {monitoring: {port: 1}}}")
    assert config.ignored == ("development.job_processor.monitoring.port",)


def test_only_the_chosen_environments_ignored_keys_are_listed(load):
    text = """
        job_processor: {}
        development: {monitoring: {port: 1}, queue: {backend: database}}
        production: {job_processor: {database: {host: x}}}
    """
    assert load(text).ignored == ("development.monitoring.port",)
    assert load(text).notes[1].startswith("development.queue.backend: database means celery")
    assert load(text, "production").ignored == ("production.job_processor.database",)
    assert len(load(text, "production").notes) == 1


def test_a_backend_that_an_override_replaces_is_not_worth_a_note(load):
    config = load("job_processor: {queue: {backend: mqtt}}\ndevelopment: {queue: {backend: redis}}")
    assert config.queue.backend == "redis"
    assert config.notes == ()


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_shipped_file_sets_nothing_in_vain(environment):
    config = load_config(SHIPPED, environment)
    assert config.notes == config.ignored == ()
    assert config.stock_jobs.data_fetch.batch_size == 50
    assert config.portfolio.freshness_schedule is None


def test_the_shipped_file_differs_from_the_defaults_in_the_batch_size_alone():
    config = load_config(SHIPPED, "development").model_dump()
    config["stock_jobs"]["data_fetch"]["batch_size"] = 10
    assert config == JobProcessor().model_dump()


@pytest.mark.parametrize("path", [SHIPPED, PREDECESSOR], ids=lambda path: path.name)
def test_files_that_load_are_valid_for_an_editor(path):
    jsonschema.Draft7Validator(json_schema()).validate(yaml.safe_load(path.read_text()))


def test_the_checked_in_schema_is_current():
    written = subprocess.run(
        [sys.executable, "-m", "stockqueue.config"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert (ROOT / "job_processor.schema.json").read_text() == written
    assert json.loads(written) == json_schema()
    jsonschema.Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"job_processor": {}, "staging": {}},
        {"job_processor": {"worker": {"max_jobs": 5}}},
        {"job_processor": {"jobs": {"priority_rules": {"user_login": 11}}}},
        {"job_processor": {"queue": {"mqtt": {"protocol": 3.1}}}},
        {"job_processor": {}, "production": {"job_processor": {}, "worker": {}}},
        {"job_processor": {}, "production": {"worker": {"name": 5}}},
        {"job_processor": {"portfolio": {"sources": [{}]}}},
    ],
)
def test_an_editor_marks_what_does_not_load(content):
    assert not jsonschema.Draft7Validator(json_schema()).is_valid(content)


def test_the_schema_explains_every_key():
    assert [path for path, node in KEYS.items() if not node.get("description")] == []


def test_the_documentation_has_every_key_with_its_default():
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for path, node in KEYS.items():
        assert path in rows
        if not node.get("deprecated"):
            assert f"| `{json.dumps(node['default'])}` |" in rows[path]


def test_overrides_are_merged_key_by_key_and_lists_are_replaced(load):
    text = """
        job_processor:
          worker: {max_concurrent_jobs: 7, name: base}
          stock_jobs: {data_fetch: {retry_backoff: [1, 2, 3]}}
          market: {watchlist: [AAPL, MSFT]}
        development:
          job_processor:
            worker: {name: mine}
            market: {watchlist: [NVDA]}
            logging:
        production:
          stock_jobs: {data_fetch: {batch_size: 99}}
          worker:
    """
    development, production = load(text), load(text, "production")
    assert (development.worker.max_concurrent_jobs, development.worker.name) == (7, "mine")
    assert development.market.watchlist == ("NVDA",)
    assert development.stock_jobs.data_fetch.batch_size == 10
    assert (production.worker.max_concurrent_jobs, production.worker.name) == (7, "base")
    assert production.stock_jobs.data_fetch.retry_backoff == (1, 2, 3)
    assert production.stock_jobs.data_fetch.batch_size == 99


def test_weights_are_added_up_after_the_merge(load, complain):
    weights = "portfolio: {priority_factors: {user_activity: 0.5, data_age: 0.1}}"
    assert load(f"job_processor: {{}}\nproduction: {{{weights}}}").portfolio.priority_factors.data_age == 0.2
    message = complain(
        f"job_processor: {{{weights}}}\nproduction: {{portfolio: {{priority_factors: {{data_age: 0.2}}}}}}"
    )
    assert message.startswith("job_processor.yml: production.portfolio.priority_factors: a mapping of weights")
    assert "adds up to 1.1, not to 1" in message


def test_an_error_in_production_shows_in_development(complain):
    text = "job_processor: {}\nproduction: {job_processor: {worker: {max_concurrent_jobs: -1}}}"
    assert complain(text) == (
        "job_processor.yml: production.job_processor.worker.max_concurrent_jobs: -1 is not between 1 and 1000"
    )


def test_an_error_of_the_base_is_named_once(complain):
    text = "job_processor: {worker: {name: 5}}\ndevelopment: {worker: {}}\nproduction: {market: {}}"
    assert complain(text) == "job_processor.yml: job_processor.worker.name: 5 is not text; put it in quotes"


def test_all_that_is_loaded_is_frozen():
    def check(value: object) -> None:
        if isinstance(value, Section):
            with pytest.raises(ValidationError):
                setattr(value, next(iter(type(value).model_fields)), None)
            for _, child in value:
                check(child)
        elif isinstance(value, tuple):
            for child in value:
                check(child)
        else:
            assert value is None or isinstance(value, str | bool | int | float)

    for path in (SHIPPED, PREDECESSOR):
        config = load_config(path, "development")
        check(config)
        hash(config)
        for name in ("ignored", "notes"):
            with pytest.raises(ValidationError):
                setattr(config, name, ())


def test_the_schema_that_a_caller_changes_is_the_callers_own():
    before = copy.deepcopy(json_schema())
    json_schema()["$defs"]["Worker"].clear()
    assert json_schema() == before


@pytest.mark.parametrize("written", ["5", "5.0", '"5"', "3.1.1", '"3.1.1"'])
def test_the_mqtt_protocol_may_be_written_as_yaml_reads_it(load, written):
    protocol = load(f"job_processor: {{queue: {{mqtt: {{protocol: {written}}}}}}}").queue.mqtt.protocol
    assert protocol == ("5" if "5" in written else "3.1.1")


@pytest.mark.parametrize(
    ("written", "size"), [("0", 0), ("1000", 1000), ("50MB", 50 * 2**20), ("2 k", 2048), ("1gb", 2**30)]
)
def test_a_log_size_is_read_in_bytes(load, written, size):
    assert load(f"job_processor: {{logging: {{max_size: {written}}}}}").logging.max_size == size


def test_a_few_aliases_and_merge_keys_are_fine(load):
    config = load("""
        job_processor:
          queue:
            redis: &server {host: broker.example}
            mqtt: {<<: *server, port: 1884}
            rabbitmq: {<<: *server, host: rabbit.example}
    """)
    assert (config.queue.mqtt.host, config.queue.rabbitmq.host) == ("broker.example", "rabbit.example")


def test_a_byte_order_mark_is_fine(load):
    assert load(b"\xef\xbb\xbfjob_processor: {}") == JobProcessor()


def test_a_topic_of_the_predecessor_may_do_without_its_placeholder(load):
    topics = load("job_processor: {queue: {mqtt: {topics: {stock_fetch: stock/fetch/all}}}}").queue.mqtt.topics
    assert topics.stock_fetch == "stock/fetch/all"


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
