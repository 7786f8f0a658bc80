from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "market"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from market.jobs.limits import LIMITS
        from market.jobs.table import JOB_TYPES, LEGACY_NAMES
        from market.retention import old_analyses
        from market.splits import go_on
        from tasks import job_types, limits
        from tasks.upkeep import retention, sweeper

        job_types.register(JOB_TYPES, aliases=LEGACY_NAMES)
        limits.register(LIMITS)
        retention.also_delete("analyses", old_analyses, by="created_at")
        sweeper.add_chore(go_on)
