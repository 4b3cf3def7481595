"""The report on a folder of results: its table, its pages, and what a browser makes of these."""

from __future__ import annotations

import csv
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from c2p_core.batch import report, run
from tests.batch.browser import CHROMIUM, DRIVER, END, HOME, RIGHT, TAB, open_browser
from tests.batch.darken import run_batch, save


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of 62 photos, one of an awkward name, one without a face and one that failed."""
    shoot, out = tmp_path_factory.mktemp("shoot"), tmp_path_factory.mktemp("results")
    for number in range(61):
        save(shoot / f"IMG_{number:03}.png", 100 + number, (64, 48))
    save(shoot / "=1+1 <script>alert('x')</script> & % # ?.png".replace("/", "_"), 90)
    save(shoot / "landscape.png", 0)
    (shoot / "broken.png").write_bytes(b"<b>no picture</b>")
    run_batch(shoot, out)
    with run.open_folder(out) as folder:
        report.write_report(out, folder.journal, folder.reader)
    return out


class Links(HTMLParser):
    """All that a page refers to, by the names of the elements."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value or "") for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_table_has_a_line_per_photo_and_nothing_that_a_spreadsheet_would_execute(out: Path) -> None:
    data = (out / "report.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    lines = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert len(lines) == 64
    states = [line["state"] for line in lines]
    assert (states.count("done"), states.count("without-face"), states.count("failed")) == (62, 1, 1)
    first = next(line for line in lines if line["result"] == "IMG_000.png")
    assert (first["dlib similarity"], first["dlib other photos"], first["protected"]) == ("0.310", "lost", "1")
    assert any(line["result"].startswith("'=1+1") for line in lines)
    (failed,) = (line for line in lines if line["state"] == "failed")
    assert "broken.png' is not a JPEG" in failed["reason"]


def test_every_page_refers_only_to_existing_files_beside_it(out: Path) -> None:
    pages = [out / "report.html", *sorted((out / "report").glob("page-*.html"))]
    assert len(pages) == 2
    from urllib.parse import unquote

    for page in pages:
        links = [(tag, link) for tag, link in Links(page).found if not link.startswith(("data:", "#"))]
        assert len(links) > 5
        assert [link for _, link in links if re.match(r"[a-z]+:|//|/", link)] == []
        assert [link for _, link in links if not (page.parent / unquote(link)).exists()] == []


def test_names_are_escaped_on_a_page(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_the_figures_cover_all_photos(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<dt>photos protected</dt><dd>62</dd>" in page and "<dt>photos failed</dt><dd>1</dd>" in page
    assert re.search(
        r'<th scope="row">dlib</th><td>no</td><td class="figure">62</td><td class="figure">62 of 62</td>', page
    )


def test_pictures_of_lost_results_and_superfluous_pages_are_removed(tmp_path: Path) -> None:
    shoot = tmp_path / "shoot"
    save(shoot / "a.png")
    run_batch(shoot, tmp_path / "out")
    folder = tmp_path / "out" / "report"
    (folder / "old-before.jpg").write_bytes(b"x")
    (folder / "page-7.html").write_bytes(b"x")
    with run.open_folder(tmp_path / "out") as results:
        report.write_report(tmp_path / "out", results.journal, results.reader)
    assert sorted(path.name[-10:] for path in folder.iterdir()) == ["-after.jpg", "before.jpg"]


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="THERE IS NO CHROMIUM: apt-get install chromium chromium-driver")
def test_in_a_browser_it_works_by_keyboard_without_errors_or_requests_to_others(out: Path) -> None:
    with open_browser() as browser:
        browser.open(out / "report.html")
        # Down to the last picture: those further below are loaded when they come into view.
        browser.run("document.querySelectorAll('img').forEach(one => { one.loading = 'eager'; });")
        assert (
            browser.run(
                "return Promise.all([...document.images].map(i => i.decode())).then(() => document.images.length)"
            )
            == 120
        )
        slider = "document.querySelector('input[type=range]')"
        line = f"return {slider}.previousElementSibling.style.getPropertyValue('--at')"
        assert browser.run(line) == "50%"
        for _ in range(8):
            browser.press(TAB)
            if browser.run(f"return document.activeElement === {slider}"):
                break
        # Some way in, past the links and tables before it.
        assert browser.run(f"return document.activeElement === {slider}")
        browser.press(HOME)
        assert browser.run(line) == "0%"
        browser.press(RIGHT, RIGHT)
        assert browser.run(line) == "2%"
        assert browser.run(f"return {slider}.getAttribute('aria-valuetext')") == "2 % before"
        browser.press(END)
        assert browser.run(line) == "100%"
        # Everything has a name for those who hear the page.
        nameless = (
            "return [...document.querySelectorAll('a, input, img, summary')]"
            ".filter(e => !(e.textContent.trim() || e.alt || e.getAttribute('aria-label'))).length"
        )
        assert browser.run(nameless) == 0
        assert browser.run("return document.documentElement.lang") == "en"
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        if folder := os.environ.get("C2P_SCREENSHOTS"):
            browser.screenshot(Path(folder) / "batch-report.png")
        browser.open(out / "report" / "page-2.html")
        assert browser.run("return [...document.images].filter(one => one.complete).length") == 4
        assert browser.read_errors() == []
        assert [url for url in browser.read_requested_urls() if not url.startswith(("file://", "data:"))] == []
