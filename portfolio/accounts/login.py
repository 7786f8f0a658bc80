"""The login page, with the way to a new account where visitors can make one."""

from typing import Any

from django.contrib.auth.views import LoginView as DjangoLoginView

from portfolio.accounts.sign_up import is_open


class LoginView(DjangoLoginView):
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(sign_up_is_open=is_open(), **kwargs)
