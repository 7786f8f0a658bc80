from django.apps import AppConfig


class TasksConfig(AppConfig):
    name = "tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from tasks import direct, execution, fetching, sweeper  # noqa: F401  (fetching registers its work)

        direct.configure(execution.run_job, sweeper.sweep)
