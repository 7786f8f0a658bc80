"""This fixture serves the test files of /metrics."""

import pytest

from operations.monitoring import health


@pytest.fixture
def database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/operations/test_health.py asks it; here it would be asked outside of the test's transaction."""
    monkeypatch.setattr(health, "database", lambda: health.OK)
