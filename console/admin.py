"""Django imports this module to find the admin classes; each module imported here registers its own."""

from console import alerts, fetch_page, market_data, mqtt, portfolios, price_alerts, stocks, third_party  # noqa: F401
from console.dashboard import register as _dashboard  # noqa: F401
from console.jobs import bulk, groups, register  # noqa: F401
