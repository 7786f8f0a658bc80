"""Widgets of forms in the admin."""

import re
from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect


class KeySelect(AutocompleteSelect):
    """A select that finds rows as the user types. Its values are primary keys."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        """Drop invalid keys first, because Django would fail to look up a text that is not a key."""
        return super().optgroups(name, [one for one in value if re.fullmatch("[0-9]{1,18}", str(one))], attr)
