from django.urls import path

from portfolio import stock_views, views
from portfolio.editing import views as editing
from portfolio.imports.views import import_page
from portfolio.live.views import live
from portfolio.price_alerts import views as price_alerts
from portfolio.search import views as search
from portfolio.splits import views as splits
from portfolio.value_views import history

urlpatterns = [
    path("", views.portfolio, name="portfolio"),
    path("holdings/", views.holdings, name="holdings"),
    path("live/", live, name="live_updates"),
    path("portfolios/new/", editing.new_portfolio, name="new_portfolio"),
    path("portfolios/<int:pk>/rename/", editing.rename_portfolio, name="rename_portfolio"),
    path("portfolios/<int:pk>/delete/", editing.delete_portfolio, name="delete_portfolio"),
    path("portfolios/<int:pk>/rows/", views.rows, name="rows"),
    path("portfolios/<int:pk>/history/", history, name="history"),
    path("portfolios/<int:pk>/add/", editing.new_holding, name="new_holding"),
    path("holdings/<int:pk>/", editing.edit_holding, name="edit_holding"),
    path("holdings/<int:pk>/delete/", editing.delete_holding, name="delete_holding"),
    path("portfolios/import/", import_page, name="import"),
    path("portfolios/export/holdings.csv", views.export_holdings, name="export"),
    path("portfolios/export/values.csv", views.export_with_values, name="export_values"),
    path("search/", search.search_page, name="search"),
    path("search/numbers/", search.number_matches, name="number_matches"),
    path("splits/<int:pk>/undo/", splits.undo, name="undo_split"),
    path("splits/<int:pk>/adjust/", splits.adjust, name="adjust_to_split"),
    path("splits/<int:pk>/dismiss/", splits.dismiss, name="dismiss_split"),
    path("alerts/", price_alerts.alerts, name="alerts"),
    path("alerts/<int:pk>/delete/", price_alerts.delete_alert, name="delete_alert"),
    path("alerts/notices/dismiss/", price_alerts.dismiss_notices, name="dismiss_notices"),
    path("alerts/notices/<int:pk>/dismiss/", price_alerts.dismiss_notice, name="dismiss_notice"),
    path("refresh/", views.refresh, name="refresh"),
    path("stocks/<str:symbol>/", stock_views.stock, name="stock"),
    path("stocks/<str:symbol>/figures/", stock_views.stock_figures, name="stock_figures"),
    path("stocks/<str:symbol>/chart/", stock_views.stock_chart, name="stock_chart"),
    path("stocks/<str:symbol>/alerts/new/", price_alerts.new_alert, name="new_alert"),
    path("stocks/<str:symbol>/refresh/", stock_views.stock_refresh, name="stock_refresh"),
]
