"""An uploaded file: its preview, and the confirmed import.

The browser keeps the file until the confirmation, because another process or host may answer then. The file is signed
together with its preview, and read again.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction

from portfolio.files.content import FileContent
from portfolio.imports.changes import PORTFOLIO, ImportedFile, import_file
from portfolio.models import Portfolio

LARGEST_UPLOAD = 1_800_000
"""In bytes. The signed text is at worst a third longer, and a form may have 2.5 MiB (Django's default)."""
PREVIEW_LASTS = 3_600
"""Seconds from a preview to its confirmation."""

_SALT = "portfolio.uploads"


@dataclass(frozen=True)
class Upload:
    """A file, and the portfolio for its import; without a name, the file's accounts name the portfolios."""

    user: User
    portfolio: str
    file_name: str
    content: bytes

    def describe(self, imported: ImportedFile) -> str:
        """`Main of demo`."""
        return f"{' and '.join(one.portfolio for one in imported.portfolios)} of {self.user}"


class FileForm(forms.Form):
    """A file for the portfolios of a user."""

    field_order: tuple[str, ...] = ("file", "portfolio")

    portfolio = forms.CharField(
        max_length=Portfolio._meta.get_field("name").max_length,
        required=False,
        help_text="Name of the portfolio; created if there is none with this name. Empty: "
        f"{PORTFOLIO}, or a portfolio for each account of the file.",
    )
    file = forms.FileField(
        widget=forms.FileInput({"accept": ".csv,.txt,.xlsx,text/csv,text/plain"}),
        help_text="Positions or transactions as a broker or another program exports them (CSV or .xlsx), or a list "
        "with symbol, shares and buy_price: adds and changes holdings. The predecessor's chatgpt_portfolio_update.csv "
        "or chatgpt_trade_log.csv replaces all holdings. The names of the columns select the format.",
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > LARGEST_UPLOAD:
            raise forms.ValidationError(
                f"The file has {file.size:,} bytes; at most {LARGEST_UPLOAD:,} can be uploaded. "
                "manage.py import_portfolio reads larger files."
            )
        return file

    def upload(self, user: User) -> Upload:
        """The upload of a valid form."""
        given = self.cleaned_data
        return Upload(user, given["portfolio"], given["file"].name, given["file"].read())


def seal(upload: Upload, preview: ImportedFile | None, editor: User) -> str:
    """Sign the upload and its preview (if any) as a text that `editor` sends back."""
    parts = {
        "user": upload.user.pk,
        "portfolio": upload.portfolio,
        "file_name": upload.file_name,
        "content": base64.b64encode(upload.content).decode(),
        "preview": _fingerprint(preview) if preview else "",
        "editor": editor.pk,
    }
    return signing.dumps(parts, salt=_SALT, compress=True)


def unseal(sealed: str, editor: User) -> tuple[Upload, str]:
    """Read a sealed upload and the fingerprint of its preview.

    Raises BadSignature if the text is not from seal() for this editor, is over an hour old, or the portfolio's user is
    gone.
    """
    parts = signing.loads(sealed, salt=_SALT, max_age=PREVIEW_LASTS)
    user = User.objects.filter(pk=parts["user"]).first()
    if user is None or parts["editor"] != editor.pk:
        raise signing.BadSignature("for somebody else")
    content = base64.b64decode(parts["content"])
    return Upload(user, parts["portfolio"], parts["file_name"], content), parts["preview"]


def import_confirmed(upload: Upload, content: FileContent, confirmed: str) -> ImportedFile | None:
    """Import a file whose preview had the fingerprint `confirmed`.

    Returns None, and changes nothing, if the changes are no longer the same. Raises ImportRefused.
    """
    with transaction.atomic():
        imported = import_file(content, upload.user, upload.portfolio)
        if confirmed == _fingerprint(imported):
            return imported
        transaction.set_rollback(True)
    return None


def _fingerprint(imported: ImportedFile) -> str:
    """A text that differs for any import with other changes to the portfolios."""
    done = [[one.portfolio, one.is_new, one.added, one.changed, one.removed] for one in imported.portfolios]
    return hashlib.sha256(json.dumps(done).encode()).hexdigest()
