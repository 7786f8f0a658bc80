from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("portfolio.urls")),
    path("", include("operations.urls")),
    path("accounts/", include("portfolio.account_urls")),
    path("admin/", admin.site.urls),
]
