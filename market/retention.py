"""Which rows about stocks are old enough to be deleted."""

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from market.models import Analysis


def old_analyses(before: datetime) -> QuerySet[Analysis]:
    """Those from before then. The newest of each stock and kind stays, however old it is: that is what is known."""
    newer = Analysis.objects.filter(stock=OuterRef("stock"), kind=OuterRef("kind"), pk__gt=OuterRef("pk"))
    return Analysis.objects.filter(Exists(newer), created_at__lt=before)
