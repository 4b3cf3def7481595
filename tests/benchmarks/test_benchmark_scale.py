"""SCALE.md agrees with its figures, and names what was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import NoData
from benchmarks.report.scale import describe_span, find_bottleneck, write_scale
from benchmarks.rows import SCALE_FILE
from benchmarks.suites import scale
from benchmarks.suites.scale import send_back, time_writer
from c2p_core.api import CancelToken
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.sources import REPORT_FOLDER
from c2p_core.models.store import ModelStore
from tests.error_assertions import raising

RUN = {"photos": 8, "faces": 8, "search_seconds": 60.0}
STAGES = {
    "read": 0.5,
    "detect": 1.0,
    "finish": 0.5,
    "photo_bytes": 2_000_000,
    "result_bytes": 3_000_000,
    "thumbnail_bytes": 100_000,
    "row_bytes": 3000,
}
RATES = {"results": 50.0, "no_report": 60.0, "rows": 200.0, "objects": 20.0, "requests": 2.5, "messages": 100.0}


def make_figures(between: float = 5.5, steps: int | None = 80, **rates: float | None) -> dict[str, Any]:
    """Figures of two runs, the second with ``between`` seconds per photo, and of the parts beside the workers."""
    runs = [
        {"workers": 1, "seconds": 90.0, "between": 10.0, **RUN, "steps": steps},
        {"workers": 2, "seconds": 50.0, "between": between, **RUN, "steps": steps},
    ]
    return {
        "megapixels": 6.0,
        "parts": {"code": "abc", "cores": 2, "load": 0.5, "stages": STAGES, "rates": RATES | rates},
        "workers": {"code": "def", "cores": 2, "load": None, "runs": runs},
    }


def write_text(folder: Path, figures: dict[str, Any]) -> str:
    """SCALE.md of these figures, with one line per paragraph."""
    (folder / SCALE_FILE).write_text(json.dumps(figures))
    paragraphs = write_scale(folder).read_text().split("\n\n")
    return "\n\n".join(part if part.startswith("|") else part.replace("\n", " ") for part in paragraphs)


def cells(text: str, first: str) -> list[str]:
    """The cells of the table line that begins with ``first``."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_text(tmp_path, make_figures())


def test_the_time_on_cores_is_that_of_one_worker_divided_by_their_number(text: str) -> None:
    assert cells(text, "512") == ["512", "5.4 h", "51.20"]


def test_graphics_cards_are_limited_by_the_work_of_the_cores_beside_them(text: str) -> None:
    lines = [line for line in text.splitlines() if line.startswith("| 8 ")]
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == ["8", "2.9 days", "5.6 h"]
    assert "the search was not measured" in text


def test_the_slowest_part_breaks_first(text: str) -> None:
    first, rate = find_bottleneck(make_figures())
    assert rate == 50.0 and f"The first to break is {first}" in text and "or with 100 graphics cards" in text
    assert "2.00 TB" in text and "3.0 GB" in text
    assert find_bottleneck(make_figures(messages=49.0))[1] == 49.0


@pytest.mark.parametrize(("met", "between"), [("1.82 times as fast as one (aim 1.7: reached)", 5.5),
                                              ("1.25 times as fast as one (aim 1.7: missed)", 8.0)])  # fmt: skip
def test_the_aim_is_reported_as_reached_or_missed(tmp_path: Path, met: str, between: float) -> None:
    assert met in write_text(tmp_path, make_figures(between))


def test_the_steps_of_the_searches_are_reported(tmp_path: Path) -> None:
    assert "with the start included; 80 search steps a face." in write_text(tmp_path, make_figures())
    assert "; a number of search steps that was not recorded." in write_text(tmp_path, make_figures(steps=None))


def test_the_writers_bottleneck_follows_from_files_of_one_byte(tmp_path: Path) -> None:
    assert "4.00 times as fast, so bytes count" in write_text(tmp_path, make_figures())
    assert "1.10 times as fast, so bytes hardly count" in write_text(tmp_path, make_figures(rows=55.0))


def test_a_remote_store_is_estimated_from_the_number_of_requests(tmp_path: Path) -> None:
    assert "2.5 requests for each" in write_text(tmp_path, make_figures()) and "put 13 photos" in write_text(
        tmp_path, make_figures()
    )
    assert "store elsewhere" not in write_text(tmp_path, make_figures(objects=None, requests=None))


def test_the_load_of_the_machine_is_reported(text: str) -> None:
    assert "Code abc, 2 cores; the load was 0.5 when it began." in text
    assert "Code def, 2 cores; what else ran was not recorded." in text


def test_the_writer_is_measured_with_thumbnails_and_lookups_of_known_results(tmp_path: Path) -> None:
    report = {"photo": "/a.jpg", "faces": []}
    item = Item(0, "/a.jpg", "a.jpg")
    outcome = Outcome(item, "done", "0" * 64, (1, 1), report, b"result", (b"before", b"after"), 1, 1.0)
    lookups: list[tuple[str, str]] = []

    def reuse(item: Item, digest: str) -> None:
        lookups.append((item.path, digest))

    control = Control(ModelStore, CancelToken(), find_reuse=reuse, read=lambda item: (b"", (2, 3)))
    (sent,) = send_back(outcome, [Item(7, "/b.jpg", "b.jpg")], Job({}), control)
    assert lookups == [("/b.jpg", f"{7:064x}")]
    assert (sent.item.number, sent.stamp, sent.data, sent.thumbnails) == (7, (2, 3), b"result", (b"before", b"after"))
    assert time_writer(outcome, tmp_path, 3) > 0
    assert len(list((tmp_path / REPORT_FOLDER).glob("*.jpg"))) == 6 and len(list((tmp_path / "0").iterdir())) == 3


@pytest.mark.parametrize("photos", [0, 2])
def test_too_few_photos_to_compare_workers_are_refused_before_measuring(tmp_path: Path, photos: int) -> None:
    with raising(NoData, "too-few-photos"):
        scale.run([], tmp_path, photos, None, lambda _line: None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(600, "10 min"), (9000, "2.5 h"), (3 * 86400, "3.0 days"), (1e8, "3.2 years")]
)
def test_time_spans_are_in_their_largest_unit(seconds: float, text: str) -> None:
    assert describe_span(seconds) == text
