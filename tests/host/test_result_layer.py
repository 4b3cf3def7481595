"""What comes back from a run: one layer that shows the change and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.host.gimp import Gimp
from tests.host.portrait import PORTRAIT, SIDE

pytestmark = pytest.mark.host

ONE_RUN = """
    image, source = portrait()
    before = pixels(source)
    status, error = protect(image, source, prompt="red lipstick", {arguments})
    result = image.get_layers()[0]
    (SHARE / "visible.raw").write_bytes(visible(image, "R'G'B' u8"))
    mask = result.get_mask()
    if mask:
        (SHARE / "mask.raw").write_bytes(pixels(mask, "Y u8"))
    (SHARE / "result.raw").write_bytes(pixels(result, U8))
    parasite = result.get_parasite("protect-face")
    report(
        status=status, error=error, names=names(image), same_source=before == pixels(source),
        kind=result.type().value_nick, edit_mask=bool(mask) and result.get_edit_mask(),
        selected=[layer.get_name() for layer in image.get_selected_layers()],
        settings=json.loads(bytes(parasite.get_data())) if parasite else None, tattoo=source.get_tattoo(),
    )
"""


def run_once(gimp: Gimp, arguments: str = "") -> dict[str, object]:
    return gimp.script(ONE_RUN.replace("{arguments}", arguments)).results


def read_raw(gimp: Gimp, name: str, channels: int) -> np.ndarray:
    return np.frombuffer((gimp.share / f"{name}.raw").read_bytes(), np.uint8).reshape(SIDE, SIDE, channels)


@pytest.fixture(scope="module")
def results(gimp: Gimp) -> dict[str, object]:
    return run_once(gimp)


def test_a_layer_named_after_the_prompt_lies_above_the_untouched_source(results: dict[str, object]) -> None:
    assert results["status"] == "success", results["error"]
    assert results["names"][0] == "red lipstick" and len(results["names"]) == 2 and results["same_source"]
    assert results["selected"] == ["red lipstick"]


def test_the_result_layer_has_an_alpha_channel(results: dict[str, object]) -> None:
    assert results["kind"] == "rgba-image"


def test_every_result_has_the_sources_position_and_opacity(gimp: Gimp) -> None:
    results = gimp.script("""
        def shown(layer):
            width = layer.get_width()
            mask = pixels(layer.get_mask(), "Y u8")
            rows = [y for y in range(layer.get_height()) if any(mask[y * width : (y + 1) * width])]
            columns = [x for x in range(width) if any(mask[x::width])]
            _, left, top = layer.get_offsets()
            return [left + columns[0], top + rows[0], left + columns[-1], top + rows[-1]]

        made = []
        for output in ("layer", "products", "whole"):
            image, source = portrait()
            source.set_offsets(37, -20)
            source.set_opacity(80)
            print(protect(image, source, prompt="red lipstick", output=output))
            made += image.get_selected_layers()
        layer, products, whole = made
        report(
            opacities=[round(result.get_opacity()) for result in made], shown=[shown(layer), shown(products)],
            places=[list(made.get_offsets())[1:] + [made.get_width(), made.get_height()] for made in (layer, whole)],
        )
    """).results
    assert results["opacities"] == [80, 80, 80]
    assert results["places"] == [[37, -20, SIDE, SIDE]] * 2
    assert results["shown"][0] == results["shown"][1]


def test_brushes_paint_on_the_layer_and_not_on_its_mask(results: dict[str, object]) -> None:
    assert results["edit_mask"] is False


def test_pixels_outside_of_the_mask_are_bit_identical(gimp: Gimp, results: dict[str, object]) -> None:
    changed = (read_raw(gimp, "visible", 3) != PORTRAIT).any(-1)
    mask = read_raw(gimp, "mask", 1)[..., 0]
    assert changed.sum() > 2000 and not changed[mask == 0].any()
    assert set(np.unique(mask)) == {0, 255}


def test_the_layer_is_transparent_where_nothing_changed(gimp: Gimp, results: dict[str, object]) -> None:
    alpha, mask = read_raw(gimp, "result", 4)[..., 3], read_raw(gimp, "mask", 1)[..., 0]
    assert np.array_equal(alpha, mask)


def test_the_result_layer_stores_its_settings(results: dict[str, object]) -> None:
    kept = results["settings"]
    assert kept["source"] == results["tattoo"]
    assert kept["wishes"]["prompt"] == kept["settings"]["prompt"] == "red lipstick"
    assert kept["faces"][0]["similarities"]


def test_the_whole_layer_shows_the_same_without_a_mask(gimp: Gimp, results: dict[str, object]) -> None:
    shown = read_raw(gimp, "visible", 3).copy()
    whole = run_once(gimp, 'output="whole"')
    assert whole["kind"] == "rgb-image" and whole["edit_mask"] is False
    assert np.array_equal(read_raw(gimp, "visible", 3), shown)
    assert np.array_equal(read_raw(gimp, "result", 4)[..., :3], shown)


def test_the_last_values_of_the_dialog_are_used_again(gimp: Gimp) -> None:
    # As GIMP keeps them.
    last = gimp.share / "profile" / "plug-in-settings" / "GimpProcedureConfigRun-plug-in-protect-face.last"
    last.parent.mkdir(exist_ok=True)
    last.write_text('(prompt "pink lipstick")\n(output "whole")\n(keep-expression no)\n(steps 3)\n')
    results = gimp.script("""
        image, source = portrait()
        procedure = Gimp.get_pdb().lookup_procedure("plug-in-protect-face")
        config = procedure.create_config()
        config.set_property("image", image)
        config.set_core_object_array("drawables", [source])
        config.set_property("run-mode", Gimp.RunMode.WITH_LAST_VALS)
        procedure.run(config)
        kept = json.loads(bytes(image.get_layers()[0].get_parasite("protect-face").get_data()))
        report(names=names(image), requested=kept["wishes"], kept=kept["settings"]["keep_expression"])
    """).results
    assert results["names"] == ["pink lipstick", "Background"]
    assert results["requested"]["output"] == "whole" and results["requested"]["steps"] == 3
    assert results["requested"]["keep_expression"] is False and results["kept"] is False


def test_settings_survive_in_the_xcf_file(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        protect(image, source)
        there = Gio.File.new_for_path(str(SHARE / "kept.xcf"))
        Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, there, None)
        again = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, there)
        result, source = again.get_layers()
        kept = json.loads(bytes(result.get_parasite("protect-face").get_data()))
        report(found=again.get_layer_by_tattoo(kept["source"]).get_name(), source=source.get_name())
    """).results
    assert results["found"] == results["source"]


def test_a_run_on_a_result_protects_the_photo_again_above_it(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        for prompt, output in (("red lipstick", "products"), ("blush", "layer")):
            (layer,) = image.get_selected_layers()
            if isinstance(layer, Gimp.GroupLayer):
                layer = layer.get_children()[0]
            status, error = protect(image, layer, prompt=prompt, output=output)
            assert status == "success", error
        kept = json.loads(bytes(image.get_layers()[0].get_parasite("protect-face").get_data()))
        report(names=names(image), source=kept["source"], photo=source.get_tattoo())
    """).results
    assert results["names"] == ["blush", "red lipstick", "Background"]
    assert results["source"] == results["photo"]


def test_a_further_result_is_put_above_all_earlier_ones_of_its_faces_and_hides_them(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        for prompt in ("red lipstick", "blush", "plum lipstick"):
            status, error = protect(image, source, prompt=prompt)
            assert status == "success", error
        result = image.get_layers()[0]
        kept = json.loads(bytes(result.get_parasite("protect-face").get_data()))
        (figures,) = call("plug-in-protect-face-check", image, [result])[2]
        both = [figures["faces"][0]["similarities"] for figures in (kept, json.loads(figures))]
        report(names=names(image), visible=[layer.get_visible() for layer in image.get_layers()],
             said=[[row["after"] for row in rows] for rows in both])
    """).results
    assert results["names"] == ["plum lipstick", "blush", "red lipstick", "Background"]
    assert results["visible"] == [True, False, False, True]
    said, seen = results["said"]
    assert said == pytest.approx(seen, abs=0.02)
