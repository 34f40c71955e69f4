from django.urls import path

from shop import views

urlpatterns = [
    path("orders/<str:customer>", views.create_order),
    path("receipts/<str:key>", views.show_receipt),
]
