"""Template tags for the figures of the page "Stock data"."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.dashboard.links import Figure

register = template.Library()


@register.simple_tag
def figure(one: Figure) -> SafeString:
    """The figure's text as a link to its list, if it has one."""
    if not one.link:
        return format_html("{}", one.text)
    return format_html('<a href="{}">{}</a>', one.link, one.text)
