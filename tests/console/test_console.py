"""The admin is in one room."""

from django.contrib import admin


def test_every_admin_class_is_in_the_console():
    classes = {type(model_admin) for model_admin in admin.site._registry.values()}
    assert {one.__module__ for one in classes if not one.__module__.startswith("console.")} == set()
