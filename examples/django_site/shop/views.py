from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from shop import queue
from shop.jobs import send_receipt
from shop.models import Order


@csrf_exempt
def create_order(request: HttpRequest, customer: str) -> JsonResponse:
    with transaction.atomic():
        order = Order.objects.create(customer=customer)
        key = f"receipt-{order.pk}"
        # Not before the commit: a worker would look for an order that is not there yet.
        transaction.on_commit(lambda: queue.orders.add(send_receipt, key=key)(order.pk))
    return JsonResponse({"key": key}, status=202)


def show_receipt(request: HttpRequest, key: str) -> JsonResponse:
    execution = queue.orders.get_execution(key)
    if execution is None:
        return JsonResponse({"error": "no such receipt, or it has expired"}, status=404)
    return JsonResponse({"state": execution.state.value})
