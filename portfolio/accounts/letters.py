"""The texts of mails about accounts. A text is written when it is sent, so no secret link is ever stored.

The look-up of an address happens here too, outside the request: a page answers at the same time for every address.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from portfolio.accounts.links import accounts_with, address_token, sign_up_token
from portfolio.models import OutgoingMail

Letter = OutgoingMail.Letter


class Text(NamedTuple):
    """A mail as it is sent."""

    to: str
    subject: str
    body: str


def write(mail: OutgoingMail) -> list[Text]:
    """The mails to send for a row of the outbox; none if they are for nobody."""
    return list(_WRITERS[Letter(mail.letter)](mail))


def _text(mail: OutgoingMail) -> Iterable[Text]:
    yield Text(mail.to, mail.subject, mail.body)


def _password_reset(mail: OutgoingMail) -> Iterable[Text]:
    """A link for each active account with the address, to the address as the account has it."""
    for user in PasswordResetForm().get_users(mail.to):
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        path = reverse("password_reset_confirm", args=[uid, default_token_generator.make_token(user)])
        yield _written(mail, user, user.email, "New password for {}", "password_reset", path)


def _sign_up(mail: OutgoingMail) -> Iterable[Text]:
    """The link that confirms the address; or a note to the owner of an account that has the address already."""
    if accounts_with(mail.to).exists():
        yield from _account_exists(mail)
    elif (user := mail.user) is not None:
        path = reverse("confirm_sign_up", args=[sign_up_token(user)])
        yield _written(mail, user, mail.to, "Your account at {}", "sign_up", path)


def _address(mail: OutgoingMail) -> Iterable[Text]:
    if (user := mail.user) is None:
        return
    if accounts_with(mail.to).exclude(pk=user.pk).exists():
        yield from _account_exists(mail)
        return
    path = reverse("confirm_address", args=[address_token(user, mail.to)])
    yield _written(mail, user, mail.to, "Your address at {}", "address", path)


def _account_exists(mail: OutgoingMail) -> Iterable[Text]:
    for user in accounts_with(mail.to):
        yield _written(mail, user, user.email, "You have an account at {}", "account_exists", reverse("login"))


def _written(mail: OutgoingMail, user: User, to: str, subject: str, template: str, path: str) -> Text:
    host = mail.site.rpartition("/")[2]
    words = {"name": user.get_username(), "host": host, "link": mail.site + path, "site": mail.site}
    return Text(to, subject.format(host), render_to_string(f"accounts/{template}_mail.txt", words))


_WRITERS: dict[OutgoingMail.Letter, Callable[[OutgoingMail], Iterable[Text]]] = {
    Letter.TEXT: _text,
    Letter.PASSWORD_RESET: _password_reset,
    Letter.SIGN_UP: _sign_up,
    Letter.ADDRESS: _address,
}
