"""The home page tells no figure that is not measured, and shows no picture that is not there."""

import re

import pytest

from tests.support import pictures
from tests.support.documents import ROOT, pages

HOME = (ROOT / "docs/index.md").read_text("utf-8")
PERFORMANCE = (ROOT / "docs/performance.md").read_text("utf-8")
FIGURES = re.findall(r'class="figure">([^<]+)<', HOME)

#: What a terminal wrote that redraws a bar, at the moment of the picture and after it.
WRITTEN = (
    "3 Python files under /app\r\n"
    "\x1b[?25l\r\x1b[2Kparsing 0/3\r\x1b[2Khalfway: kill -9 7\r\n"
    "parsing 1/3\r\x1b[2Kthe first of its files started again, 9 ms after the kill\r\n"
    "parsing 2/3\r\x1b[2Kworker 1 is back\r\n"
    "parsing 2/3\r\x1b[2Kparsing 2/3 again\r\x1b[2Kparsing 3/3\r\n\x1b[?25hdone\r\n"
)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_of_the_home_page_stands_in_the_page_of_measurements(figure: str) -> None:
    assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", PERFORMANCE)


def test_there_are_figures_for_each_of_the_three_reasons() -> None:
    reasons = HOME.partition('<div class="reasons"')[2].split("\n## ")[1:4]
    assert [reason for reason in reasons if 'class="figure"' not in reason] == []
    assert len(reasons) == 3


def test_every_picture_of_the_documents_is_a_file_that_loads_nothing_from_elsewhere() -> None:
    shown = {
        (page.parent / path.partition("#")[0]).resolve()
        for page in pages()
        for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text("utf-8"))
    }
    assert len(shown) >= 4
    assert {picture.suffix for picture in shown} <= {".svg", ".png"}
    for picture in shown:
        if picture.suffix == ".png":
            assert picture.read_bytes().startswith(b"\x89PNG")
            continue
        text = picture.read_text("utf-8")
        assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert re.search(r"<title[^>]*>[^<]+</title>", text)


def test_the_picture_is_the_terminal_at_the_moment_of_the_redelivery() -> None:
    assert pictures.screen_at_the_kill(WRITTEN) == [
        "3 Python files under /app",
        "halfway: kill -9 7",
        "the first of its files started again, 9 ms after the kill",
        "parsing 2/3 again",
    ]


def test_a_picture_shows_the_lines_that_it_is_given() -> None:
    drawn = pictures.draw(["\x1b[32mgreen\x1b[0m", "plain & simple"], "/app")

    assert "docket-supervisor&#160;demo&#160;/app" in drawn
    assert "green" in drawn
    assert "plain&#160;&amp;&#160;simple" in drawn


def test_the_picture_of_the_demo_shows_a_kill_and_what_followed() -> None:
    text = pictures.PICTURE.read_text("utf-8").replace("&#160;", " ")

    assert "kill -9" in text
    assert pictures.MOMENT in text
