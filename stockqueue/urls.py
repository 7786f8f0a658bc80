from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", include("portfolio.urls")),
    path("", include("operations.urls")),
    path("accounts/", include("portfolio.account_urls")),
    # The predecessor's address of the page "Stock data".
    path(
        "admin/stock_data_admin.php",
        RedirectView.as_view(pattern_name="admin:operations_stockdata_changelist"),
        name="stock_data_admin",
    ),
    path("admin/", admin.site.urls),
]
