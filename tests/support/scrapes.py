"""Reads what a process serves by HTTP, as probes and scrapers do."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

#: Labels and values of the samples of a name.
Samples = dict[frozenset[tuple[str, str]], float]


def fetch(port: int, path: str = "/", method: str = "GET") -> tuple[int, str]:
    """Status and body of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def probe(port: int) -> tuple[int, str]:
    """As `fetch`, off the loop."""
    return await asyncio.to_thread(fetch, port)


class Scrape:
    """The samples of one answer, which must be well-formed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, labels: Mapping[str, str]) -> float | None:
        """The sample with exactly these labels; None if there is none."""
        for sample in self._samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
        return None

    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def labels(self, name: str) -> list[dict[str, str]]:
        return [sample.labels for sample in self._samples if sample.name == name]
