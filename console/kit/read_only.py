"""Read-only admin classes."""

from django.http import HttpRequest


class ReadOnly:
    """Mixin for rows that only the program writes."""

    def has_add_permission(self, request: HttpRequest, *_parent: object) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
