"""Which files a batch takes, and where their results go."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from c2p_core.batch.layout import plan_items
from c2p_core.batch.sources import find_sources
from c2p_core.errors import BadRequest
from tests.error_assertions import raising

OUT = Path("out")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find_places(*arguments: str, listed: bytes = b"", out: Path = OUT) -> list[str]:
    """Where the results of what is found go."""
    return [item.place.replace(os.sep, "/") for item in plan_items(find_sources(arguments, out, lambda: listed))]


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def test_a_folder_keeps_its_layout_and_gives_only_pictures() -> None:
    touch("shoot/b.JPG", "shoot/day 1/a.tif", "shoot/day 1/notes.txt", "shoot/raw.cr3", "shoot/raw2.CR3")
    selection = find_sources(["shoot"], OUT, bytes)
    assert [item.place for item in plan_items(selection)] == ["b.JPG", "day 1/a.tif"]
    assert selection.left_out == {".cr3": 2, ".txt": 1} and selection.raw == 2


def test_camera_raw_named_by_a_pattern_or_list_is_counted_and_is_no_failure() -> None:
    touch("shoot/a.jpg", "shoot/a.NEF", "shoot/b.dng")
    selection = find_sources(["shoot/*", "-"], OUT, lambda: b"shoot/a.NEF\n")
    assert [item.place for item in plan_items(selection)] == ["a.jpg"] and selection.raw == 2
    with raising(BadRequest, "sources-only-raw", count=1):
        find_sources(["shoot/b.dng"], OUT, bytes)


def test_several_sources_keep_their_layout_below_the_folder_that_they_share() -> None:
    touch("shoot/day1/a.jpg", "shoot/day2/a.jpg")
    assert find_places("shoot/day1", "shoot/day2/a.jpg") == ["day1/a.jpg", "day2/a.jpg"]


def test_a_named_file_is_taken_once_whatever_its_extension() -> None:
    touch("shoot/scan.photo", "shoot/a.jpg")
    assert find_places("shoot/scan.photo", "shoot", "shoot/a.jpg") == ["scan.photo.png", "a.jpg"]


def test_a_pattern_is_expanded_unless_a_file_has_that_name() -> None:
    touch("shoot/a1.jpg", "shoot/b/a2.jpg", "shoot/a[1].jpg")
    assert find_places("shoot/**/a?.jpg") == ["a1.jpg", "b/a2.jpg"]
    assert find_places("shoot/a[1].jpg") == ["a[1].jpg"]


@pytest.mark.parametrize("data", [b"shoot/a b.jpg\r\nshoot/c.jpg\n\n", b"shoot/a b.jpg\0shoot/c.jpg\0"])
def test_a_list_comes_from_standard_input_or_a_file(data: bytes) -> None:
    touch("shoot/a b.jpg", "shoot/c.jpg")
    assert find_places("-", listed=data) == ["a b.jpg", "c.jpg"]
    Path("list.txt").write_bytes(data)
    assert find_places("@list.txt") == ["a b.jpg", "c.jpg"]


def test_missing_files_are_planned_so_that_the_report_names_them() -> None:
    touch("shoot/a.jpg")
    assert find_places("shoot/a.jpg", "shoot/gone.jpg") == ["a.jpg", "gone.jpg"]


def test_hidden_files_and_the_systems_own_folders_are_left_out() -> None:
    touch("shoot/.hidden.jpg", "shoot/._a.jpg", "shoot/.trash/a.jpg", "shoot/@eaDir/a.jpg", "shoot/a.jpg")
    assert find_places("shoot") == ["a.jpg"]


def test_results_are_not_taken_as_sources(here: Path) -> None:
    touch("shoot/a.jpg", "shoot/out/b.jpg", "shoot/earlier/.c2p/journal.sqlite", "shoot/earlier/c.jpg")
    selection = find_sources(["shoot"], Path("shoot/out"), bytes)
    assert [source.path for source in selection.files] == [str(here / "shoot" / "a.jpg")]
    assert selection.results == [str(here / "shoot" / "earlier")]


@pytest.mark.parametrize(
    "arguments", [["shoot/**/*.jpg"], ["shoot/**"], ["shoot/*.jpg", "shoot/*/*"], ["-"], ["@list.txt"]]
)
def test_results_named_by_a_pattern_or_list_are_not_taken_as_sources(here: Path, arguments: list[str]) -> None:
    touch("shoot/a.jpg", "shoot/day 1/b.jpg", "shoot/out/.c2p/journal.sqlite", "shoot/out/a.jpg")
    touch("shoot/out/day 1/b.jpg", "shoot/out/report/1-before.jpg", "shoot/earlier/.c2p/journal.sqlite")
    touch("shoot/earlier/day 2/c.jpg", "shoot/earlier/report/2-after.jpg")
    listed = "\n".join(str(path) for path in sorted(here.rglob("*.jpg"))).encode()
    Path("list.txt").write_bytes(listed)
    selection = find_sources(arguments, Path("shoot/out"), lambda: listed)
    names = {Path(source.path).relative_to(here).as_posix() for source in selection.files}
    assert names == {"shoot/a.jpg", "shoot/day 1/b.jpg"}
    assert str(here / "shoot/earlier") in selection.results and len(set(selection.results)) == len(selection.results)


def test_results_chosen_explicitly_are_taken_without_their_report() -> None:
    touch("earlier/.c2p/journal.sqlite", "earlier/a.jpg", "earlier/day 1/b.jpg", "earlier/report/1-before.jpg")
    for arguments in (["earlier"], ["earlier/**/*.jpg"]):
        assert find_places(*arguments) == ["a.jpg", "day 1/b.jpg"]


def test_photos_below_the_folder_of_results_are_taken_if_all_of_them_are() -> None:
    touch("here/.c2p/journal.sqlite", "here/shoot/a.jpg")
    for arguments in (["here/shoot"], ["here/shoot/*.jpg"]):
        assert find_places(*arguments, out=Path("here")) == ["a.jpg"]


@pytest.mark.parametrize("sources", [["shoot"], ["shoot/a.jpg"], ["shoot/one", "shoot/two"]])
def test_results_are_never_written_among_the_photos(sources: list[str]) -> None:
    touch("shoot/a.jpg", "shoot/one/a.jpg", "shoot/two/a.jpg")
    with pytest.raises(BadRequest) as error:
        find_sources(sources, Path("shoot"), bytes)
    assert error.value.code == "batch-into-sources"


def test_nothing_to_protect_is_an_error() -> None:
    Path("empty").mkdir()
    with pytest.raises(BadRequest) as error:
        find_sources(["empty"], OUT, bytes)
    assert error.value.code == "sources-nothing"


def test_a_missing_list_is_an_error() -> None:
    with pytest.raises(BadRequest) as error:
        find_sources(["@nowhere.txt"], OUT, bytes)
    assert error.value.code == "list-unreadable"


def test_links_are_followed_once_and_cycles_end() -> None:
    touch("shoot/a.jpg", "elsewhere/b.jpg")
    for link, target in {
        "shoot/loop": "shoot",
        "shoot/far": "elsewhere",
        "shoot/same.jpg": "shoot/a.jpg",
        "shoot/far again": "elsewhere",
        "shoot/broken.jpg": "nowhere",
    }.items():
        Path(link).symlink_to(Path(target).absolute())
    assert find_places("shoot") == ["a.jpg", "broken.jpg", "far/b.jpg"]


def test_an_unreadable_folder_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("shoot/a.jpg", "shoot/locked/b.jpg")
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    selection = find_sources(["shoot"], OUT, bytes)
    assert len(selection.files) == 1 and [message.code for message in selection.unreadable] == ["folder-not-readable"]


def test_photos_with_colliding_result_names_are_both_kept_in_any_order() -> None:
    touch("shoot/a.mpo", "shoot/a.jpg", "shoot/b.jpg", "shoot/B.JPG", "shoot/b.mpo")
    expected = {"a.jpg": "a.jpg", "a.mpo": "a.mpo.jpg", "B.JPG": "B.JPG", "b.jpg": "b.jpg.jpg", "b.mpo": "b.mpo.jpg"}
    for arguments in (sorted(expected), sorted(expected, reverse=True)):
        items = plan_items(find_sources([f"shoot/{name}" for name in arguments], OUT, bytes))
        assert {Path(item.path).name: item.place for item in items} == expected


def test_awkward_names_stay_as_they_are() -> None:
    names = ["a\nb.jpg", "-o.jpg", "=1+1.jpg", "Zoë 💄.jpg", "'\"<&>.jpg", f"{'x' * 251}.jpg"]
    if os.name == "posix":
        names.append(os.fsdecode(b"caf\xe9.jpg"))  # not UTF-8
    touch(*(f"shoot/{name}" for name in names))
    assert sorted(find_places("shoot")) == sorted(names)


def test_a_name_with_a_longer_extension_is_shortened_to_what_disks_allow() -> None:
    name = "x" * 250 + ".mpo2"
    touch(f"shoot/{name}")
    (place,) = find_places(f"shoot/{name}")
    assert place.endswith(".png") and len(place) == 255
