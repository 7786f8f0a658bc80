from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from tasks.models.job import Job


class JobGroup(models.Model):
    """The jobs requested together by a user: fetches, a backfill, analyses. `jobs` includes joined jobs.

    The admin shows the progress to the user, and to everybody with the permission to see jobs. After the last job, the
    user gets a mail if the jobs took long.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="job_groups")
    what = models.CharField(max_length=400, help_text="Description of the request.")
    jobs = models.ManyToManyField(Job, related_name="groups")
    created_at = models.DateTimeField(default=timezone.now)
    told_at = models.DateTimeField(
        null=True, blank=True, help_text="Time when the end was handled, with a mail if the group took long."
    )

    class Meta:
        ordering = ["-created_at"]
        default_permissions = ()  # the permissions for jobs count
        indexes = [models.Index(fields=["id"], name="group_not_told", condition=Q(told_at=None))]

    def __str__(self) -> str:
        return self.what
