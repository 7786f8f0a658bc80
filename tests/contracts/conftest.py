"""These fixtures write configuration files and load them."""

from pathlib import Path

import pytest

from stockqueue.config import ConfigError, load_config
from stockqueue.config.sections import JobProcessor


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
