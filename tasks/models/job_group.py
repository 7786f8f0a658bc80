from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from tasks.models.job import Job


class JobGroup(models.Model):
    """What one user asked for at once: fetches, a backfill, analyses. Joined jobs are among its `jobs`.

    The admin shows its user how far it is, and whoever may see jobs. The user gets a mail when the last job has ended,
    where that took long.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="job_groups")
    what = models.CharField(max_length=400, help_text="What was asked for, in words.")
    jobs = models.ManyToManyField(Job, related_name="groups")
    created_at = models.DateTimeField(default=timezone.now)
    told_at = models.DateTimeField(
        null=True, blank=True, help_text="When its end was noticed, and a mail sent if it took long."
    )

    class Meta:
        ordering = ["-created_at"]
        default_permissions = ()  # those of its jobs count
        indexes = [models.Index(fields=["id"], name="group_not_told", condition=Q(told_at=None))]

    def __str__(self) -> str:
        return self.what
