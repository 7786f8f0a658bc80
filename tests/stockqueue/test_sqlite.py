"""Pages that only read do not wait for a writer on SQLite."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

pytestmark = pytest.mark.skipif("config.getoption('--database') != 'sqlite'", reason="about SQLite alone")


@pytest.mark.django_db(transaction=True)
def test_a_new_connection_begins_no_writing_transaction_for_json():
    connection.close()
    with CaptureQueriesContext(connection) as queries:
        assert connection.features.supports_json_field
    assert [query["sql"] for query in queries if "BEGIN" in query["sql"]] == []
