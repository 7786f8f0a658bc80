from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from console.jobs.bulk import log_end
        from console.jobs.filters_in_address import describe_filters, matching_jobs
        from tasks.bulk import selection

        selection.register(selection.JobList(matching_jobs, describe_filters, log_end))
