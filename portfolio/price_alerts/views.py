"""Pages on which an owner sets, sees and deletes price alerts, and dismisses their notices.

Every page looks up its object among those of the user: an object of somebody else is not found.
"""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from market.currency import major_unit
from portfolio.models import PriceAlert, PriceAlertNotice
from portfolio.price_alerts.forms import AlertForm
from portfolio.price_alerts.notices import dismiss, recent_notices
from portfolio.price_alerts.setting import MOST_ALERTS, AlertRefused, alerts_of, set_alert
from portfolio.price_alerts.texts import condition
from portfolio.stock_views import find_or_404
from stockqueue.signed_in import one_change_at_a_time, signed_in


@login_required
@never_cache
@require_GET
def alerts(request: HttpRequest) -> HttpResponse:
    """All alerts of the user with their state, and the newest notices."""
    user = signed_in(request)
    context = {"alerts": alerts_of(user), "notices": recent_notices(user), "most_alerts": MOST_ALERTS}
    return render(request, "portfolio/alerts.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
@one_change_at_a_time
def new_alert(request: HttpRequest, symbol: str) -> HttpResponse:
    """Set an alert on a stock that the user may see, or show the form again with the reason of a refusal."""
    stock, user = find_or_404(request, symbol), signed_in(request)
    form = AlertForm(request.POST or None, currency=major_unit(stock.currency).currency)
    if form.is_valid():
        try:
            alert = set_alert(user, stock, form.cleaned_data["kind"], form.cleaned_data["threshold"])
        except AlertRefused as refusal:
            form.add_error("threshold", str(refusal))
        else:
            messages.success(request, _said(alert))
            return redirect("stock", stock.symbol)
    return render(request, "portfolio/alert_form.html", {"form": form, "stock": stock})


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def delete_alert(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask, and delete after the confirmation."""
    alert = get_object_or_404(PriceAlert.objects.select_related("stock"), pk=pk, user=signed_in(request))
    if request.method == "POST":
        alert.delete()
        messages.success(request, f"Deleted the alert on {_name(alert)}.")
        return redirect("alerts")
    return render(request, "portfolio/alert_delete.html", {"alert": alert})


@login_required
@require_POST
def dismiss_notice(request: HttpRequest, pk: int) -> HttpResponse:
    notice = get_object_or_404(PriceAlertNotice, pk=pk, user=signed_in(request))
    dismiss(PriceAlertNotice.objects.filter(pk=notice.pk))
    return _back(request)


@login_required
@require_POST
def dismiss_notices(request: HttpRequest) -> HttpResponse:
    """Dismiss all notices of the user up to the newest shown one, so that a later notice is not lost."""
    shown = PriceAlertNotice.objects.filter(user=signed_in(request))
    newest = request.POST.get("newest", "")
    if newest.isascii() and newest.isdecimal() and len(newest) < 19:
        dismiss(shown.filter(pk__lte=int(newest)))
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    return redirect("alerts" if request.POST.get("page") == "alerts" else "portfolio")


def _name(alert: PriceAlert) -> str:
    return f"{alert.stock}: {condition(alert.kind, alert.threshold, alert.currency)}"


def _said(alert: PriceAlert) -> str:
    """The confirmation."""
    later = " Today's change has reached that already, so it begins with the next session." if alert.raised_on else ""
    return f"Alert set on {_name(alert)}.{later}"
