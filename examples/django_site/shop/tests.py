from unittest import mock
from uuid import uuid4

from django.test import TestCase, TransactionTestCase
from docket import Docket, Worker, testing

from shop import queue
from shop.jobs import send_receipt
from shop.models import Order


class CleanDocket:
    """A docket of its own for each test, on memory://, in the place of the site's."""

    def setUp(self) -> None:
        super().setUp()
        self.docket = Docket(f"test-{uuid4()}", url="memory://")
        orders = self.enterContext(self.docket.sync())
        self.enterContext(mock.patch.object(queue, "orders", orders))

    def run_tasks(self) -> None:
        async def run() -> None:
            async with Worker(self.docket) as worker:
                await worker.run_until_finished()

        queue.orders.wait_for(run)


class OrdersTest(CleanDocket, TestCase):
    def test_an_order_schedules_its_receipt_when_it_is_committed(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post("/orders/Ada")
            queue.orders.wait_for(lambda: testing.assert_no_tasks(self.docket))

        order = Order.objects.get(customer="Ada")
        assert response.json() == {"key": f"receipt-{order.pk}"}
        queue.orders.wait_for(
            lambda: testing.assert_task_scheduled(self.docket, send_receipt, args=(order.pk,))
        )

    def test_a_task_is_a_function_that_a_test_can_call(self) -> None:
        order = Order.objects.create(customer="Ada")

        assert send_receipt(order.pk) == "Thank you, Ada!"

    def test_a_receipt_that_nobody_ordered_is_not_found(self) -> None:
        assert self.client.get("/receipts/unknown").status_code == 404


class ReceiptsTest(CleanDocket, TransactionTestCase):
    """The worker's threads see only what is committed, so no transaction around the test."""

    def test_a_worker_writes_the_receipt(self) -> None:
        key = self.client.post("/orders/Ada").json()["key"]

        self.run_tasks()

        assert self.client.get(f"/receipts/{key}").json() == {"state": "completed"}
        assert Order.objects.get(customer="Ada").receipt == "Thank you, Ada!"
