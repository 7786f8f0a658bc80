"""These functions upload a portfolio's file to the admin and confirm its preview, as a browser does."""

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from portfolio.models import Holding

PAGE = "/admin/portfolio/portfolio/import/"
LIST = "/admin/portfolio/portfolio/"


def upload(client: Client, user: User, content: str | bytes, portfolio: str = "Main", name: str = "my.csv"):
    file = SimpleUploadedFile(name, content if isinstance(content, bytes) else content.encode(), "text/csv")
    return client.post(PAGE, {"user": user.pk, "portfolio": portfolio, "file": file})


def confirm(client: Client, preview, **more: object):
    return client.post(PAGE, {"sealed": preview.context["sealed"], **more})


def shares(user: User, name: str = "Main") -> dict[str, str]:
    held = Holding.objects.filter(portfolio__user=user, portfolio__name=name).select_related("stock")
    return {holding.stock.symbol: f"{holding.shares.normalize():f}" for holding in held}


def text(answer) -> str:
    return answer.content.decode()
