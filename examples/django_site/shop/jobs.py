"""The tasks: plain functions, which a worker calls in threads, so the ORM works as in views."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

from shop.models import Order

P = ParamSpec("P")
T = TypeVar("T")


def with_database(function: Callable[P, T]) -> Callable[P, T]:
    """Drop connections that have become unusable, as Django does around a request."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return call


@with_database
def send_receipt(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    order.receipt = f"Thank you, {order.customer}!"
    order.save()
    return order.receipt


tasks = [send_receipt]
