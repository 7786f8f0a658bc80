"""Login, sign-up, passwords and preferences, with pages in the product's own look.

The admin's pages of the same names come first among the templates, and cannot be read outside the admin.
"""

from django.contrib.auth import views
from django.urls import path

from portfolio.accounts import deletion, preferences, sign_up
from portfolio.accounts.login import LoginView
from portfolio.accounts.password_reset import password_reset

urlpatterns = [
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", views.LogoutView.as_view(), name="logout"),
    path("sign_up/", sign_up.sign_up, name="sign_up"),
    path("sign_up/sent/", sign_up.sent, name="sign_up_sent"),
    path("sign_up/confirm/<str:token>/", sign_up.confirm, name="confirm_sign_up"),
    path("preferences/", preferences.preferences, name="preferences"),
    path("address/", preferences.address, name="change_address"),
    path("address/confirm/<str:token>/", preferences.confirm_address, name="confirm_address"),
    path("delete/", deletion.delete_account, name="delete_account"),
    path(
        "password_change/",
        views.PasswordChangeView.as_view(template_name="accounts/password_change.html"),
        name="password_change",
    ),
    path(
        "password_change/done/",
        views.PasswordChangeDoneView.as_view(template_name="accounts/password_changed.html"),
        name="password_change_done",
    ),
    path("password_reset/", password_reset, name="password_reset"),
    path(
        "password_reset/done/",
        views.PasswordResetDoneView.as_view(template_name="accounts/password_reset_sent.html"),
        name="password_reset_done",
    ),
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(template_name="accounts/password_new.html"),
        name="password_reset_confirm",
    ),
    path(
        "reset/done/",
        views.PasswordResetCompleteView.as_view(template_name="accounts/password_set.html"),
        name="password_reset_complete",
    ),
]
