"""A configuration file is loaded over the defaults, and schema and documentation describe every key."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from stockqueue.config import json_schema, load_config
from stockqueue.config.sections import JobProcessor
from stockqueue.config.values import Section
from tests.support.configuration_keys import KEYS

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "job_processor.yml"
PREDECESSOR = ROOT / "tests" / "support" / "data" / "predecessor.yml"


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
        "integration.cache.file_cache_path",
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
