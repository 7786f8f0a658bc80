"""The symbols of securities' numbers (ISIN, CUSIP), as people have assigned them. No source takes such a number."""

from collections.abc import Iterable, Mapping

from market.models import SecurityNumber


def symbols_of(numbers: Iterable[str]) -> dict[str, str]:
    """The symbol of each known number, in a single query."""
    wanted = {number for number in numbers if number}
    if not wanted:
        return {}
    return dict(SecurityNumber.objects.filter(number__in=wanted).values_list("number", "symbol"))


def remember(symbols: Mapping[str, str]) -> None:
    """Keep the symbol of each number; a number that is known gets the new symbol."""
    SecurityNumber.objects.bulk_create(
        (SecurityNumber(number=number, symbol=symbol) for number, symbol in sorted(symbols.items())),
        update_conflicts=True,
        unique_fields=["number"],
        update_fields=["symbol"],
    )
