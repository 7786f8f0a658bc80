"""Logs in like a browser: gets the form, keeps the cookies, posts the form back with its CSRF token."""

import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser


class LoginFailed(Exception):
    """The site refused the login."""


class Browser:
    """A visitor of a site: cookies, redirects, no scripts."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def get(self, path: str) -> str:
        """The page at `path`, after redirects."""
        with self._opener.open(self.site + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def log_in(self, username: str, password: str) -> str:
        """Post the login form; returns the next page. LoginFailed if the form comes back."""
        form = _HiddenFields()
        form.feed(self.get("/accounts/login/"))
        fields = form.values | {"username": username, "password": password}
        request = urllib.request.Request(  # noqa: S310  (our own http address)
            f"{self.site}/accounts/login/", data=urllib.parse.urlencode(fields).encode()
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                page: str = answer.read().decode()
                if "/accounts/login/" in answer.url:
                    raise LoginFailed(f"{username}: the login form came back")
        except urllib.error.HTTPError as error:
            raise LoginFailed(f"{username}: {error}") from None
        return page

    def post(self, path: str, page: str) -> str:
        """Post the hidden fields of `page` to `path`, as a button does; returns the next page."""
        form = _HiddenFields()
        form.feed(page)
        data = urllib.parse.urlencode(form.values).encode()
        with self._opener.open(urllib.request.Request(self.site + path, data=data), timeout=30) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text


class _HiddenFields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "input" and attributes.get("type") == "hidden" and attributes.get("name"):
            self.values[attributes["name"] or ""] = attributes.get("value") or ""
