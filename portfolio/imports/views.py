"""The owner's import: a file, its preview, and questions about the file."""

from collections.abc import Mapping, Sequence

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.signing import BadSignature
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from portfolio.fetching import fetch_new_stocks
from portfolio.files.content import FileContent, FilePosition
from portfolio.files.reading import UnknownColumns, read_file
from portfolio.files.refused import ImportRefused
from portfolio.files.tables import names_in
from portfolio.holdings import held_stocks
from portfolio.imports.assigned import CHOICES, NotAssignable, assign_columns, assign_symbols, assigned_columns
from portfolio.imports.changes import ImportedFile, plan_import, with_known_symbols
from portfolio.imports.preview import change_groups
from portfolio.imports.uploads import FileForm, Upload, import_confirmed, seal, unseal
from portfolio.search.numbers import MOST_NUMBERS, NumberMatches, NumberQuestions
from stockqueue.signed_in import lock_user, signed_in

LINES_SHOWN = 200
"""Lines shown of each kind of change, and of problems; the rest is counted."""


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def import_page(request: HttpRequest) -> HttpResponse:
    """Ask for a file, preview its changes, and make the changes after a confirmation."""
    user = signed_in(request)
    if "sealed" in request.POST:
        try:
            upload, confirmed = unseal(request.POST["sealed"], user)
        except BadSignature:
            messages.error(request, "The preview is no longer valid; choose the file again.")
            return redirect("import")
        return _answer(request, upload, confirmed if "confirm" in request.POST else "")
    form = FileForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        return _answer(request, form.upload(user), "")
    return render(request, "portfolio/import.html", {"form": form})


def _answer(request: HttpRequest, upload: Upload, confirmed: str) -> HttpResponse:
    """The preview of a file, the question about its columns, its problems, or the import of the confirmed changes."""
    user = upload.user
    try:
        content = read_file(upload.content, assigned_columns(user))
    except UnknownColumns as unknown:
        return _assign(request, upload, unknown)
    except ImportRefused as refused:
        return _refuse(request, upload, refused.problems)
    wrong = _keep_symbols(request, user, content)
    # A stock in several accounts is one question.
    unresolved = list({one.key: one for one in reversed(with_known_symbols(content, user).unresolved)}.values())[::-1]
    planned: ImportedFile | None = None
    try:
        planned = plan_import(content, user, upload.portfolio)
    except ImportRefused as refused:
        if not unresolved:  # otherwise the page asks for symbols
            return _refuse(request, upload, refused.problems)
    if confirmed and planned and planned.changes_something:
        if _import(request, upload, content, planned, confirmed):
            return redirect("portfolio")
        messages.warning(request, "The portfolio has changed since the preview. This is the new preview.")
    numbers = NumberQuestions.ask(enumerate(unresolved[:LINES_SHOWN], 1), user)
    context = {
        "upload": upload,
        "planned": planned,
        "unresolved": _questions(unresolved[:LINES_SHOWN], wrong, numbers),
        "numbers": numbers,
        "not_looked_up": max(0, sum(bool(one.number) for one in unresolved) - MOST_NUMBERS),
        "groups": change_groups(planned, LINES_SHOWN) if planned else [],
        "sealed": seal(upload, planned, user),
    }
    return render(request, "portfolio/import_preview.html", context)


def _import(request: HttpRequest, upload: Upload, content: FileContent, planned: ImportedFile, confirmed: str) -> bool:
    """Import the file if its changes are still the confirmed changes, and fetch the largest of the new stocks.

    The new stocks and the fetches have transactions of their own, so that other writers wait for less. If the fetches
    are lost in a crash, the schedule "Warm" fetches the stocks.
    """
    Stock.objects.find_or_create(planned.new_stocks)
    with transaction.atomic():
        lock_user(signed_in(request))
        imported = import_confirmed(upload, content, confirmed)
    if imported is None:
        return False
    left = fetch_new_stocks(held_stocks(upload.user), upload.user)
    later = f" The prices of {left} more follow in the background." if left else ""
    messages.success(request, f"Imported {upload.file_name}: {imported}.{later}")
    return True


def _assign(request: HttpRequest, upload: Upload, unknown: UnknownColumns) -> HttpResponse:
    """Ask for the meaning of the columns, or keep the answer and go on."""
    if unknown.header is None:
        return _refuse(request, upload, unknown.problems)
    names = names_in(unknown.header)
    chosen = [request.POST.get(f"column-{place}", "") for place in range(len(names))]
    error = ""
    if "assign" in request.POST:
        try:
            assign_columns(upload.user, names, chosen)
        except NotAssignable as problem:
            error = str(problem)
        else:
            return _answer(request, upload, "")
    columns = [
        {"name": name, "chosen": chosen[place], "examples": [line.cell(place)[:40] for line in unknown.examples]}
        for place, name in enumerate(names)
    ]
    context = {
        "upload": upload,
        "columns": columns,
        "choices": [(choice.name, choice.value) for choice in CHOICES],
        "error": error,
        "sealed": seal(upload, None, upload.user),
    }
    return render(request, "portfolio/import_columns.html", context)


def _refuse(request: HttpRequest, upload: Upload, problems: Sequence[str]) -> HttpResponse:
    context = {
        "form": FileForm(initial={"portfolio": upload.portfolio}),
        "upload": upload,
        "problems": problems[:LINES_SHOWN],
        "more": len(problems[LINES_SHOWN:]),
    }
    return render(request, "portfolio/import.html", context)


def _questions(
    positions: Sequence[FilePosition], wrong: Mapping[str, str], numbers: NumberQuestions
) -> list[tuple[FilePosition, str, NumberMatches | None]]:
    """The positions without a symbol, each with the error of a wrong symbol, and what was found for its number."""
    return [(one, wrong.get(one.key, ""), numbers.by_place.get(place)) for place, one in enumerate(positions, 1)]


def _keep_symbols(request: HttpRequest, user: User, content: FileContent) -> dict[str, str]:
    """Keep the symbols that the user has typed or chosen for numbers in the file; a typed symbol wins.

    Returns the error of each wrong symbol.
    """
    symbols: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for key in {position.key for position in content.unresolved}:
        typed, chosen = (request.POST.get(f"{name}-{key}", "").strip() for name in ("symbol", "found"))
        if text := typed or chosen:
            try:
                symbols[key] = parse_symbol(text)
            except InvalidSymbol as error:
                wrong[key] = str(error)
    if symbols:
        assign_symbols(user, symbols)
    return wrong
