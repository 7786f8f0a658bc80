"""How figures are written on the page "Stock data"."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.dashboard.links import Figure

register = template.Library()


@register.simple_tag
def figure(one: Figure) -> SafeString:
    """The text as a link to what it is about."""
    return format_html('<a href="{}">{}</a>', one.link, one.text)
