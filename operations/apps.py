from django.apps import AppConfig

from operations import checks  # noqa: F401  (registers the checks)


class OperationsConfig(AppConfig):
    name = "operations"
    default_auto_field = "django.db.models.BigAutoField"
