"""Rows about stocks that are old enough to delete."""

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from market.models import Analysis


def old_analyses(before: datetime) -> QuerySet[Analysis]:
    """Analyses from before a moment. The newest of each stock and kind stays, regardless of its age."""
    newer = Analysis.objects.filter(stock=OuterRef("stock"), kind=OuterRef("kind"), pk__gt=OuterRef("pk"))
    return Analysis.objects.filter(Exists(newer), created_at__lt=before)
