"""Widgets of forms in the admin."""

import re
from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect


class KeySelect(AutocompleteSelect):
    """Finds rows while somebody types, and takes their keys."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        """Without what is no key, which Django would look up all the same, and fail."""
        return super().optgroups(name, [one for one in value if re.fullmatch("[0-9]{1,18}", str(one))], attr)
