"""Files for import_portfolio, and the command."""

from io import StringIO

import pytest
from django.core.management import call_command


@pytest.fixture
def write(tmp_path):
    """write(text): a file with that content."""

    def write(text: str | bytes, name: str = "portfolio.csv"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def run(user):
    """run(*words): what import_portfolio prints for `user`."""

    def run(*words) -> str:
        out = StringIO()
        call_command("import_portfolio", *map(str, words), "--user", user.username, stdout=out)
        return out.getvalue()

    return run
