from django.urls import path

from portfolio import views

urlpatterns = [
    path("", views.portfolio, name="portfolio"),
    path("holdings/", views.holdings, name="holdings"),
    path("refresh/", views.refresh, name="refresh"),
]
