"""Fast lists of the admin for any number of rows: keyset paging, and a limit on rows read.

A page begins at the key of a row, not at a number, and has older or newer rows; nothing is counted. A page reads at
most LOOK_BACK rows. A page that is not full by then shows how far the search went, and a link continues it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ALL_VAR, ORDER_VAR, PAGE_VAR
from django.core.exceptions import ValidationError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from console.kit.keyset_keys import Key, beyond, parse_key, write_key

OLDER, NEWER = "older", "newer"
"""Parameters of the address: a page has rows older, or newer, than this key."""
LOOK_BACK = 20_000
"""Rows that a page reads at most, plus rows with the last row's first value of the key."""
SCATTERED = 5_000
"""The limit for rows scattered over the table."""

Rows = QuerySet[Any]
Lookups = Mapping[str, Sequence[str]]
"""The filters of an address: lookups such as `status__exact`, each with its values as text."""

_WORDS = {
    "exact": "is",
    "in": "is one of",
    "gte": "from",
    "gt": "after",
    "lte": "up to",
    "lt": "before",
    "isnull": "is empty:",
}


def describe_lookup(lookup: str, values: Sequence[object]) -> str:
    """`finished at from 2026-11-25T20:41:16+00:00` for `finished_at__gte`."""
    name, _, kind = lookup.rpartition("__")
    words = f"{name} {_WORDS[kind]}" if name and kind in _WORDS else f"{lookup} is"
    return f"{words.replace('__', ' ').replace('_', ' ')} {', '.join(map(str, values))}"


@dataclass(frozen=True)
class Path:
    """An index for the matching rows. `rows`, in the index's order, have all matching rows and possibly more.

    The list uses the index if `rows` are few. With `is_in_order` the index has the order of the list, and `rows` may
    be many. With `is_scattered` the rows are all over the table, and reading each costs more. `condition` makes the
    database use the index; in a search it selects the found rows.
    """

    rows: Rows
    condition: Q
    is_in_order: bool = False
    is_scattered: bool = False

    @property
    def most(self) -> int:
        """Rows that a page reads at most."""
        return SCATTERED if self.is_scattered else LOOK_BACK

    def leads_to_few(self) -> bool:
        return not self.rows[self.most : self.most + 1].exists()


@dataclass(frozen=True)
class Page:
    """The rows of a page, and the addresses of other pages; an address is empty without such a page.

    If the limit was reached before the page was full, `looked` tells how far it looked, and `further` continues.
    """

    rows: Sequence[Any]
    newest: str = ""
    newer: str = ""
    older: str = ""
    looked: str = ""
    further: str = ""
    template_name: str = "admin/keyset/pages.html"  # unfold asks a paginator for it

    @property
    def is_all(self) -> bool:
        """Whether the page has all matching rows."""
        return not (self.newest or self.older)


class KeysetChangeList(ChangeList):
    """A change list: `queryset` has all matching rows, `paginator` is the page, `result_list` the page's rows."""

    model_admin: "KeysetList"
    queryset: Rows
    other_lookups: Lookups
    """Filters from links, without a control on the page."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Rows:
        # Links and forms drop the place of the page. There is one order, and no page of all rows.
        for parameter in (OLDER, NEWER, ORDER_VAR, ALL_VAR, PAGE_VAR):
            self.params.pop(parameter, None)
            self.filter_params.pop(parameter, None)
        rows: Rows = super().get_queryset(request, exclude_parameters)
        return rows

    def get_filters(self, request: HttpRequest) -> tuple[Any, ...]:
        found: tuple[Any, ...] = super().get_filters(request)
        self.other_lookups = found[2]
        return found

    def get_ordering(self, request: HttpRequest, queryset: Rows) -> list[str]:
        return list(self.model_admin.get_ordering(request))

    def get_results(self, request: HttpRequest) -> None:
        self.paginator = page = self._page(request)
        self.result_list = page.rows
        # A number, or the word that unfold needs for "Select all matching jobs" and "All matching selected". unfold
        # also shows the full count if the two differ.
        self.result_count = self.full_result_count = len(page.rows) if page.is_all else "matching"
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = True

    def is_narrowed(self) -> bool:
        """Whether filters or a search leave rows out."""
        return bool(self.query or self.get_filters_params())

    def described_lookups(self) -> list[str]:
        """`other_lookups` in words: `finished at from 2026-11-25T20:41:16+00:00`."""
        return [describe_lookup(lookup, values) for lookup, values in self.other_lookups.items()]

    def _page(self, request: HttpRequest) -> Page:
        for parameter, turn in ((OLDER, self._older), (NEWER, self._newer)):
            if parameter in request.GET:
                try:
                    return turn(parse_key(request.GET[parameter], self.model, self.model_admin.key))
                except ValidationError:
                    said = f"The parameter “{parameter}” is not valid. This page shows the newest rows."
                    messages.warning(request, said)
        return self._older(None)

    def _older(self, key: Key | None) -> Page:
        """The page of the newest rows before the key; without a key, the newest of all."""
        rows, walked = self._way()
        last = None
        if walked:
            place = Q() if key is None else Q(**{f"{self._first}__{'lte' if key[1:] else 'lt'}": key[0]})
            last = self._end_of_look(walked, place, f"-{self._first}")
            if last is not None:
                rows = rows.filter(**{f"{self._first}__gte": last})
        if key is not None:
            rows = rows.filter(beyond(self.model_admin.key, key, "lt"))
        found, more = self._read(rows, is_descending=True, is_walked=bool(walked))
        further = "" if more or last is None else self._address(OLDER, (last,))
        return Page(
            rows=found,
            newest="" if key is None else self.get_query_string(),
            newer=self._address(NEWER, self._key_of(found[0])) if found and key is not None else "",
            older=self._address(OLDER, self._key_of(found[-1])) if more else further,
            looked=f"Looked back to {self.model_admin.describe_place(last)}." if further else "",
            further=further,
        )

    def _newer(self, key: Key) -> Page:
        """The page of the oldest rows after the key; the first page if these rows do not fill a page."""
        rows, walked = self._way()
        last = None
        if walked:
            # Rows with the key's own first value do not count, so each look makes progress.
            last = self._end_of_look(walked, Q(**{f"{self._first}__gt": key[0]}), self._first)
            if last is not None:
                is_whole = len(self.model_admin.key) == 1  # otherwise the next look begins with rows of this value
                rows = rows.filter(**{f"{self._first}__{'lte' if is_whole else 'lt'}": last})
        rows = rows.filter(beyond(self.model_admin.key, key, "gt"))
        found, more = self._read(rows, is_descending=False, is_walked=bool(walked))
        if not more and last is None:
            return self._older(None)
        further = "" if more else self._address(NEWER, (last,))
        return Page(
            rows=found[::-1],
            newest=self.get_query_string(),
            newer=self._address(NEWER, self._key_of(found[-1])) if more else further,
            older=self._address(OLDER, self._key_of(found[0])) if found else "",
            looked=f"Looked forward to {self.model_admin.describe_place(last)}." if further else "",
            further=further,
        )

    def _way(self) -> tuple[Rows, Path | None]:
        """The matching rows, filtered so that an index applies, and the path to walk, or None for few rows."""
        if text := self.query.strip():
            found = self.model_admin.search(text)
            if len(found) == 1 and found[0].is_in_order:
                return self.queryset, found[0]
            if all(path.leads_to_few() for path in found):
                return self.queryset, None
        for path in self.model_admin.paths(self.get_filters_params()):
            if path.is_in_order or path.leads_to_few():
                return self.queryset.filter(path.condition), path if path.is_in_order else None
        return self.queryset, Path(self.model._default_manager.all(), Q(), is_in_order=True)

    def _end_of_look(self, path: Path, place: Q, order: str) -> Any:
        """The key's first value after the last row that a page may read; None if there are fewer rows."""
        rows = path.rows.filter(place, bounds_of(self.get_filters_params(), self._first))
        values = rows.order_by(order).values_list(self._first, flat=True)
        return next(iter(values[path.most : path.most + 1]), None)

    def _read(self, rows: Rows, *, is_descending: bool, is_walked: bool) -> tuple[list[Any], bool]:
        """Read a page of the rows, and whether more rows follow."""
        # Coalesce keeps the database from walking all rows in key order if few rows match.
        columns = [F(name) if is_walked else Coalesce(name, name) for name in self.model_admin.key]
        ordered = rows.order_by(*(column.desc() if is_descending else column.asc() for column in columns))
        found = list(ordered[: self.list_per_page + 1])
        return found[: self.list_per_page], len(found) > self.list_per_page

    @property
    def _first(self) -> str:
        return self.model_admin.key[0]

    def _key_of(self, row: Any) -> Key:
        return tuple(getattr(row, name) for name in self.model_admin.key)

    def _address(self, parameter: str, key: Key) -> str:
        return str(self.get_query_string({parameter: write_key(key)}))


class KeysetList(ModelAdmin):
    """A list with keyset paging, the newest row first; no other order, no counts.

    `key` are the fields of the order: together unique, never empty, never changed, with an index on the first field.
    `moment` is the field with a row's time of creation, and `nothing_yet` the text of an empty list.
    """

    key: tuple[str, ...] = ("id",)
    moment = "created_at"
    nothing_yet = ""
    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    change_list_template = "admin/keyset/change_list.html"
    list_before_template = "admin/keyset/before.html"
    list_after_template = "admin/keyset/after.html"

    def get_changelist(self, request: HttpRequest, **_options: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def get_ordering(self, request: HttpRequest) -> list[str]:
        return [f"-{name}" for name in self.key]

    def search(self, text: str) -> Sequence[Path]:
        """The paths for the meanings of a searched text. A row is found if it matches the condition of any path."""
        return ()

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        """Yield the indexes for the filtered rows, the best first. Without an index, the newest rows are walked."""
        yield from ()

    def describe_place(self, first_value: Any) -> str:
        """The time of the rows with this first value of the key, to tell how far a page looked."""
        if self.moment != self.key[0]:
            rows = self.model._default_manager.filter(**{self.key[0]: first_value})
            first_value = rows.values_list(self.moment, flat=True).first()
        return f"{first_value:%Y-%m-%d %H:%M:%S} UTC"

    def get_search_results(self, request: HttpRequest, queryset: Rows, search_term: str) -> tuple[Rows, bool]:
        """The rows found by `search`; Django's own search would read every row."""
        text = search_term.strip()
        if not text:
            return queryset, False
        conditions = [path.condition for path in self.search(text)]
        if len(conditions) < 2:
            return queryset.filter(*conditions) if conditions else queryset.none(), False
        # Each part of a union uses its index. Conditions joined by OR would use none.
        first, *others = (self.model._default_manager.filter(one).order_by().values("pk") for one in conditions)
        return queryset.filter(pk__in=first.union(*others)), False


def values_of(lookups: Lookups, field: str) -> set[str] | None:
    """The values of a field allowed by the filters; None without a filter of the field."""
    if values := lookups.get(f"{field}__exact"):
        return set(values)
    listed = lookups.get(f"{field}__in")
    return {value for text in listed for value in text.split(",")} if listed else None


def bounds_of(lookups: Lookups, field: str) -> Q:
    """The upper and lower bounds of a field in the filters; an empty Q without bounds."""
    asked = ((f"{field}__{bound}", lookups.get(f"{field}__{bound}")) for bound in ("gt", "gte", "lt", "lte"))
    return Q(*(reduce(or_, (Q(**{lookup: value}) for value in values)) for lookup, values in asked if values))
