"""The form of an import in the admin: a file, and its owner."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget

from console.kit.widgets import KeySelect
from portfolio.imports.uploads import FileForm, Upload
from portfolio.models import Portfolio


class UploadForm(FileForm):
    user = forms.ModelChoiceField(
        User.objects.all(),
        widget=KeySelect(Portfolio._meta.get_field("user"), admin.site),
        help_text="Owner of the portfolio.",
    )
    field_order = ("user", "portfolio", "file")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["portfolio"].widget = UnfoldAdminTextInputWidget()
        self.fields["file"].widget = UnfoldAdminFileFieldWidget(self.fields["file"].widget.attrs)

    def uploaded(self) -> Upload:
        """The upload of a valid form."""
        return self.upload(self.cleaned_data["user"])
