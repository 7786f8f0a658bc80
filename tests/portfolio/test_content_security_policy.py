"""Owners' pages run scripts of this server alone."""

import pytest

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("address", ["/", "/portfolios/import/", "/accounts/login/", "/stocks/AAPL/", "/nothing/"])
def test_a_page_of_owners_allows_no_foreign_and_no_inline_scripts(address, client, user, hold):
    hold(user, "AAPL")
    client.force_login(user)
    policy = dict(part.strip().split(" ", 1) for part in client.get(address)["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert ("unsafe-inline" in policy["style-src"]) == (address == "/stocks/AAPL/")  # plotly writes styles


def test_the_admin_has_no_policy_because_its_theme_evaluates_attributes(admin_client):
    assert "Content-Security-Policy" not in admin_client.get("/admin/")
