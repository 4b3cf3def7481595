"""Check Protection and Strengthen: figures that equal the command line's, and a search that keeps the user's edits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from worker_client.messages import render

from c2p_core.api import Face
from c2p_core.cli import c2p
from c2p_core.faces import find_faces
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.strength import compute_strength_limits
from tests.error_assertions import sentence
from tests.host.gimp import Gimp
from tests.host.portrait import SIDE

pytestmark = pytest.mark.host

# After the fixture ``protected``.
PROTECTED = """
    image = load("protected.xcf")
    result, source = image.get_layers()
"""


@pytest.fixture(scope="module")
def protected(gimp: Gimp) -> None:
    """A protected photo in a file, for the tests that do different things to the same one."""
    gimp.script("""
    image, source = portrait()
    status, error = protect(image, source, prompt="red lipstick", steps=6)
    assert status == "success", error
    there = Gio.File.new_for_path(str(SHARE / "protected.xcf"))
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, there, None)
    """)


@pytest.mark.usefixtures("protected")
def test_check_gives_the_figures_of_the_command_line(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    status, error, (figures,) = call("plug-in-protect-face-check", image, [result])
    (SHARE / "protected.raw").write_bytes(visible(image, "R'G'B' u8"))
    report(status=status, error=error, figures=json.loads(figures))
    """
    ).results
    protected = gimp.share / "protected.png"
    Image.frombytes("RGB", (SIDE, SIDE), (gimp.share / "protected.raw").read_bytes()).save(protected)
    printed = CliRunner().invoke(c2p, ["check", str(gimp.share / "portrait.png"), str(protected), "--json"]).stdout
    (face,) = json.loads(printed)["photos"][0]["faces"]
    (ours,) = results["figures"]["faces"]
    assert len(ours["similarities"]) == len(face["similarities"]) == 6
    for mine, theirs in zip(ours["similarities"], face["similarities"], strict=True):
        assert mine["recogniser"] == theirs["recogniser"] and mine["verdict"] == theirs["verdict"]
        assert mine["after"] == pytest.approx(theirs["after"], abs=1e-4)


@pytest.mark.usefixtures("protected")
def test_check_judges_the_users_own_edits(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    def after():
        (figures,) = call("plug-in-protect-face-check", image, [source])[2]
        return [row["after"] for row in json.loads(figures)["faces"][0]["similarities"]]

    strong = after()
    result.set_opacity(5)
    faded = after()
    # Then the photo itself is visible, and something else is called the original.
    result.set_visible(False)
    other = source.copy()
    image.insert_layer(other, None, 2)
    other.brightness_contrast(0.1, 0)
    refused = [call("plug-in-protect-face-check", image, [source], **named)[:2] for named in ({}, {"original": other})]
    report(strong=strong, faded=faded, refused=refused)
    """
    ).results
    assert all(strong < faded > 0.99 for strong, faded in zip(results["strong"], results["faded"], strict=True))
    assert results["refused"] == [
        ["execution-error", render("pictures-the-same", {})],
        ["execution-error", render("original-judged", {"name": "Background copy"})],
    ]


@pytest.mark.usefixtures("protected")
def test_check_adds_the_upload_and_writes_a_report_on_request(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    options = {"upload": True, "report": str(SHARE / "report.txt")}
    status, error, (figures,) = call("plug-in-protect-face-check", image, [result], **options)
    report(status=status, error=error, upload=json.loads(figures)["upload"])
    """
    ).results
    report = (gimp.share / "report.txt").read_text()
    assert results["upload"]["width"] == 1080 and results["upload"]["quality"] == 75
    assert "After a typical upload (JPEG 75, 1080 pixels wide)" in report and "mobileface" in report
    assert "No protection holds against every present or future recogniser." in report


def test_a_report_that_cannot_be_written_is_an_error(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, source = portrait()
    print(protect(image, source))
    report(said=call("plug-in-protect-face-check", image, [source], report="/nowhere/report.txt")[:2])
    """
    ).results
    assert results["said"][0] == "execution-error" and sentence("report-not-written").search(results["said"][1])


def test_an_image_that_was_never_protected_asks_for_the_original(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, source = portrait()
    report(said=call("plug-in-protect-face-check", image, [source])[:2])
    """
    ).results
    assert results["said"] == ["execution-error", render("original-not-named", {})]


def test_in_a_duplicate_of_the_image_the_photo_is_known_by_its_pixels(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, source = portrait()
    # So that layers get other numbers in the duplicate.
    for _ in range(5):
        spare = source.copy()
        image.insert_layer(spare, None, 0)
        image.remove_layer(spare)
    print(protect(image, source))
    duplicate = image.duplicate()
    result, photo = duplicate.get_layers()
    figures = [json.loads(call("plug-in-protect-face-check", duplicate, [one])[2][0]) for one in (result, photo)]
    photo.get_buffer().set(Gegl.Rectangle.new(225, 120, 1, 1), "R'G'B' u8", bytes(3))
    touched = call("plug-in-protect-face-check", duplicate, [result])[:2]
    report(
        originals=[each["original"] for each in figures],
        touched=touched,
        protected=protect(duplicate, result),
        names=names(duplicate),
    )
    """
    ).results
    assert results["originals"] == 2 * [{"name": "Background", "known": True, "layer": "Background"}]
    assert results["touched"] == ["execution-error", render("original-not-named", {})]
    assert results["protected"] == ["execution-error", render("source-unknown", {})]
    assert results["names"] == ["natural makeup", "Background"]


def test_figures_of_a_run_under_a_selection_apply_to_the_visible_result(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, source = portrait()
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 200, 130, 40, 60)
    status, error = protect(image, source, steps=6, strength=1.0)
    result = image.get_layers()[0]
    (figures,) = call("plug-in-protect-face-check", image, [result])[2]
    kept = json.loads(bytes(result.get_parasite("protect-face").get_data()))
    both = [figures["faces"][0]["similarities"] for figures in (kept, json.loads(figures))]
    report(error=error, said=[[row["after"] for row in rows] for rows in both])
    """
    ).results
    said, seen = results["said"]
    assert said == pytest.approx(seen, abs=0.02), results["error"]


@pytest.mark.usefixtures("protected")
def test_strengthen_adds_a_layer_on_top_that_keeps_the_users_edits(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    paint = Gimp.Layer.new(image, "edit", 20, 20, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
    fill(paint, "R'G'B' u8", bytes([0, 255, 0]) * 400)
    image.insert_layer(paint, None, 0)
    paint.set_offsets(215, 100)
    green = 4 * (110 * SIDE + 225)
    status, error, _ = call("plug-in-protect-face-strengthen", image, [result], steps=2)
    report(status=status, error=error, names=names(image), green=list(visible(image)[green : green + 3]))
    """
    ).results
    assert results["status"] == "success", results["error"]
    assert results["names"][:3] == ["red lipstick (strengthened)", "edit", "red lipstick"]
    red, green, blue = results["green"]
    assert green > 100 and red < 100 and blue < 100


def test_strengthen_after_brushing_goes_no_farther_from_the_photo_than_its_strength_allows(
    gimp: Gimp, astronaut_face: Face, store: ModelStore
) -> None:
    results = gimp.script("""
    image, source = portrait()
    print(protect(image, source, prompt="red lipstick", strength=0.4, steps=10))
    result = image.get_layers()[0]
    # One eye brushed out.
    brushed = result.get_mask().get_buffer()
    brushed.set(Gegl.Rectangle.new(190, 95, 35, 25), "Y u8", bytes(35 * 25))
    brushed.flush()
    status, error, _ = call("plug-in-protect-face-strengthen", image, [result], steps=10)
    (SHARE / "strengthened.raw").write_bytes(visible(image, "R'G'B' u8"))
    report(status=status, error=error)
    """).results
    assert results["status"] == "success", results["error"]
    shown = np.frombuffer((gimp.share / "strengthened.raw").read_bytes(), np.uint8).reshape(SIDE, SIDE, 3)
    (face,) = find_faces(Photo(shown), store)
    moved = np.linalg.norm(face.mesh - astronaut_face.mesh, axis=1) / astronaut_face.eye_distance
    assert moved.max() <= compute_strength_limits(0.4).shape


def test_strengthen_takes_the_faces_of_every_run_on_the_photo(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, twice = two_portraits()
    kept = []
    for left in (0, SIDE):
        image.select_rectangle(Gimp.ChannelOps.REPLACE, left, 0, SIDE, SIDE)
        protect(image, twice, faces="selection")
        kept += image.get_selected_layers()
    Gimp.Selection.none(image)
    call("plug-in-protect-face-strengthen", image, [kept[1]], steps=2)
    kept += image.get_selected_layers()
    memories = [json.loads(bytes(layer.get_parasite("protect-face").get_data())) for layer in kept]
    assert all(layer.get_visible() for layer in kept)
    report(faces=[sorted(face["number"] for face in memory["faces"] if face["similarities"]) for memory in memories])
    """
    ).results
    first, second, both = results["faces"]
    assert len(first) == len(second) == 1 and both == sorted(first + second) == [1, 2]


def test_another_look_from_check_protects_the_faces_that_were_protected_and_no_others(gimp: Gimp) -> None:
    results = gimp.script(
        """
    import sys

    sys.path.insert(0, str(SHARE / "profile" / "plug-ins" / "protect-face"))
    import check, layers, originals, run_settings

    image, twice = two_portraits()
    image.select_rectangle(Gimp.ChannelOps.REPLACE, SIDE, 0, SIDE, SIDE)
    status, error = protect(image, twice)
    assert status == "success", error
    Gimp.Selection.none(image)
    record = originals.get_run_record(layers.make_source(image, image.get_selected_layers()))
    again = layers.find_photo(image, image.get_selected_layers())
    settings = run_settings.apply_offer(run_settings.restore_settings(record["requested"]), run_settings.ANOTHER)
    check.run_and_show(Gimp.RunMode.NONINTERACTIVE, again, settings, check.choose_again(record, again))
    new = layers.read_run_record(image.get_selected_layers()[0])
    report(
        faces=[[face["number"] for face in one["faces"]] for one in (record, new)],
        requested=record["requested"]["faces"],
    )
    """
    ).results
    first, second = results["faces"]
    assert len(first) == 1 and first == second and results["requested"] == "all"


def test_a_photo_without_a_result_is_not_judged_by_that_of_another(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, source = portrait()
    other = source.copy()
    image.insert_layer(other, None, 1)
    other.brightness_contrast(0.1, 0)
    print(protect(image, source))
    report(said=[call("plug-in-protect-face-check", image, [layer])[:2] for layer in (source, other)])
    """
    ).results
    protected, bare = results["said"]
    assert protected == ["success", ""]
    assert bare == ["execution-error", render("original-not-named", {})]


def test_a_face_outside_of_the_canvas_does_not_keep_the_others_from_being_judged(gimp: Gimp) -> None:
    results = gimp.script(
        """
    image, source = portrait()
    # Two of her side by side, as large as what is not sent whole.
    source.scale(1600, 1600, False)
    twice = Gimp.Layer.new(image, "twice", 3200, 1600, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(twice, None, 0)
    buffer = twice.get_buffer()
    for left in (0, 1600):
        source.get_buffer().copy(rect(source), Gegl.AbyssPolicy.NONE, buffer, Gegl.Rectangle.new(left, 0, 1600, 1600))
    buffer.flush()
    image.resize(2000, 1600, 0, 0)
    darker = Gimp.Layer.new(image, "darker", 3200, 1600, Gimp.ImageType.RGB_IMAGE, 20, Gimp.LayerMode.NORMAL)
    image.insert_layer(darker, None, 0)
    checked = call("plug-in-protect-face-check", image, [twice], original=twice)
    strengthened = call("plug-in-protect-face-strengthen", image, [twice], original=twice, steps=2)[:2]
    report(error=checked[1], figures=json.loads(checked[2][0]), strengthened=strengthened)
    """
    ).results
    assert len(results["figures"]["faces"]) == 1, results["error"]
    assert results["strengthened"] == ["success", ""]


@pytest.mark.usefixtures("protected")
def test_the_original_may_be_a_file_or_another_image_and_of_another_size(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    def figures(image, layer, **named):
        return json.loads(call("plug-in-protect-face-check", image, [layer], **named)[2][0])

    def look(figures):
        return [row["after"] for row in figures["faces"][0]["similarities"]], figures["original"]

    photo = Gio.File.new_for_path(str(SHARE / "portrait.png"))
    inside, file = (look(figures(image, result, **named)) for named in ({}, {"original-file": photo}))
    # As somebody gets it who has the exported picture only.
    flat = image.duplicate()
    flat.flatten()
    for parasite in flat.get_layers()[0].get_parasite_list():
        flat.get_layers()[0].detach_parasite(parasite)
    exported = look(figures(flat, flat.get_layers()[0], **{"original-file": photo}))
    other, layer = portrait()
    other.scale(640, 640)
    open_image = look(figures(flat, flat.get_layers()[0], original=layer))
    (SHARE / "none.png").write_text("no picture")
    none = Gio.File.new_for_path(str(SHARE / "none.png"))
    refused = call("plug-in-protect-face-check", image, [result], **{"original-file": none})[:2]
    flat.crop(250, 320, 0, 0)
    cut = call("plug-in-protect-face-check", flat, flat.get_layers(), **{"original-file": photo})[:2]
    report(looks=[inside, file, exported, open_image], refused=refused, cut=cut, images=len(Gimp.get_images()))
    """
    ).results
    values, originals = zip(*results["looks"], strict=True)
    assert values[1] == pytest.approx(values[0], abs=1e-4) and values[2] == pytest.approx(values[0], abs=1e-4)
    assert values[3] == pytest.approx(values[0], abs=0.05)
    assert originals == (
        {"name": "Background", "known": True, "layer": "Background"},
        {"name": "portrait.png", "known": True, "layer": "Background"},
        {"name": "portrait.png", "known": False, "layer": None},
        {"name": "Background", "known": False, "layer": None},
    )
    assert results["refused"][0] == "execution-error" and "none.png can't be opened" in results["refused"][1]
    assert results["cut"] == ["execution-error", render("proportions-differ", {})]
    assert results["images"] == 3, "a file that was compared is still open"


@pytest.mark.usefixtures("protected")
def test_an_image_that_was_scaled_turned_or_cropped_since_has_its_face_and_no_other(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    def faces():
        status, error, (figures,) = call("plug-in-protect-face-check", image, [source])
        return [[face["skipped"], len(face["similarities"])] for face in json.loads(figures)["faces"]]

    found = {"as it was": faces()}
    for name, change in (
        ("larger", lambda: image.scale(1300, 1300)),  # so large that faces are looked for in a smaller copy
        ("turned", lambda: image.rotate(Gimp.RotationType.DEGREES90)),
        ("upside down", lambda: image.rotate(Gimp.RotationType.DEGREES90)),
        ("mirrored", lambda: image.flip(Gimp.OrientationType.HORIZONTAL)),
        ("smaller", lambda: image.scale(700, 700)),
        ("cropped", lambda: image.crop(500, 430, 200, 270)),
    ):
        change()
        found[name] = faces()
    report(found=found, strengthened=call("plug-in-protect-face-strengthen", image, [source], steps=1)[:2])
    """
    ).results
    assert results["found"] == {name: [[None, 6]] for name in results["found"]} and len(results["found"]) == 7
    assert results["strengthened"] == ["success", ""]


@pytest.mark.usefixtures("protected")
def test_check_works_while_a_mask_is_edited_and_refuses_a_result_as_the_original(gimp: Gimp) -> None:
    results = gimp.script(
        PROTECTED
        + """
    result.set_edit_mask(True)
    status, error, (figures,) = call("plug-in-protect-face-check", image, [result.get_mask()], what="layer")
    strengthened = call("plug-in-protect-face-strengthen", image, [result.get_mask()], steps=1)[:2]
    refused = call("plug-in-protect-face-check", image, [source], original=result)[:2]
    report(checked=status, error=error, figures=json.loads(figures), strengthened=strengthened, refused=refused)
    """
    ).results
    assert results["checked"] == "success", results["error"]
    assert all(row["after"] < 0.99 for row in results["figures"]["faces"][0]["similarities"])
    assert results["strengthened"] == ["success", ""]
    assert results["refused"] == ["execution-error", render("original-protected", {"name": "red lipstick"})]


@pytest.mark.parametrize("name", ["check", "strengthen"])
def test_cancelling_leaves_no_copies_in_gimp(gimp: Gimp, name: str) -> None:
    module = gimp.plug_in / "worker_client" / "client.py"
    right = module.read_text()
    # GIMP's Cancel is SIGKILL; here it comes when the pictures of the last job have been sent.
    waits = "events = self.events(lazily=lazily)"
    dies = f'if self._kind != "find":\n            os.kill(os.getpid(), 9)\n        {waits}'
    module.write_text(right.replace(waits, dies, 1).replace("job = Job(", "Job._kind = kind\n            job = Job("))
    try:
        results = gimp.script(f"""
            def newest():
                item = Gimp.Layer.new(image, "", 1, 1, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
                number = item.get_id()
                item.delete()
                return number

            image, source = portrait()
            before = newest()
            named = {{"original-file": Gio.File.new_for_path(str(SHARE / "portrait.png"))}}
            named = named if "{name}" == "check" else {{"original": source}}
            status = call("plug-in-protect-face-{name}", image, [source], **named)[0]
            left = [number for number in range(before, newest()) if Gimp.Item.id_is_valid(number)]
            report(status=status, left=left, images=len(Gimp.get_images()))
        """).results
    finally:
        module.write_text(right)
    assert results["status"] != "success" and results["left"] == [] and results["images"] == 1


def test_restarting_the_worker_gives_another_process(gimp: Gimp) -> None:
    results = gimp.script(
        """
    def pid(do):
        return json.loads(call("plug-in-protect-face-worker", do=do)[2][0])["pid"]

    report(before=pid("status"), after=pid("restart"), again=pid("status"))
    """
    ).results
    assert results["before"] != results["after"] == results["again"]


def test_the_diagnosis_names_how_the_worker_was_found(gimp: Gimp) -> None:
    results = gimp.script('report(**json.loads(call("plug-in-protect-face-worker", do="diagnose")[2][0]))').results
    assert (
        results["found by"] == str(gimp.plug_in / "protect-face-worker.json") and Path(results["run folder"]).is_dir()
    )
