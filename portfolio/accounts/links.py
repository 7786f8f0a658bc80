"""Links in mails: signed, valid for a day, and tied to the state that they change, so that each works once."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from portfolio.models import SignUp

VALID = timedelta(days=1)
UNCONFIRMED = Q(sign_up__isnull=False, is_active=False)
_SIGN_UP, _ADDRESS = "portfolio.sign_up", "portfolio.address"


def site_of(request: HttpRequest) -> str:
    """`https://stocks.example`, for links in mails."""
    return f"{request.scheme}://{request.get_host()}"


def accounts_with(address: str) -> QuerySet[User]:
    """The accounts with the address, except unconfirmed accounts."""
    return User.objects.exclude(UNCONFIRMED).filter(email__iexact=address)


def old_sign_ups(_before: datetime) -> QuerySet[User]:
    """Users who have not confirmed their address in time, independent of the age limit for jobs."""
    return User.objects.filter(UNCONFIRMED, sign_up__created_at__lt=timezone.now() - VALID)


def sign_up_token(user: User) -> str:
    return signing.dumps(user.pk, salt=_SIGN_UP)


def user_of_sign_up(token: str) -> User | None:
    """The user whom the link activates. None if it is forged, too old or used, or if the address has an account."""
    match _read(token, _SIGN_UP):
        case int() as pk:
            user = User.objects.filter(UNCONFIRMED, pk=pk).first()
            return None if user is None or accounts_with(user.email).exists() else user
    return None


def confirm_sign_up(user: User) -> bool:
    """Activate the user. Return False if another request has done it."""
    with transaction.atomic():
        deleted, _ = SignUp.objects.filter(user=user).delete()
        return bool(deleted and User.objects.filter(pk=user.pk).update(is_active=True))


def address_token(user: User, address: str) -> str:
    return signing.dumps([user.pk, user.email, address], salt=_ADDRESS)


def change_of_address(token: str, user: User) -> str | None:
    """The user's new address. None if the link is forged, too old, used, another user's, or of a taken address."""
    match _read(token, _ADDRESS):
        case [user.pk, user.email, str() as address] if not accounts_with(address).exclude(pk=user.pk).exists():
            return address
    return None


def _read(token: str, salt: str) -> object:
    try:
        value: object = signing.loads(token, salt=salt, max_age=VALID)
    except signing.BadSignature:
        return None
    return value
