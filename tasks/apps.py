from django.apps import AppConfig
from django.conf import settings
from django.core.signals import request_started


class TasksConfig(AppConfig):
    name = "tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from tasks.bulk import runner
        from tasks.delivery import direct
        from tasks.running import execute
        from tasks.upkeep import sweeper

        direct.configure(execute.run_job, sweeper.sweep)
        sweeper.add_chore(runner.go_on)
        if settings.JOB_PROCESSOR.queue.backend == "direct":
            # Without beat, the web server sweeps, which also finds jobs left by an earlier process.
            request_started.connect(direct.keep, dispatch_uid="tasks.delivery.direct.keep")
