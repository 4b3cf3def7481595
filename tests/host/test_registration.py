"""What GIMP knows of the plug-in after its first start."""

from __future__ import annotations

import pytest

from tests.host.gimp import Gimp

pytestmark = pytest.mark.host


def test_every_procedure_is_in_the_privacy_menu_with_protect_first(gimp: Gimp) -> None:
    results = gimp.script_alone("""
        pdb = Gimp.get_pdb()
        found = pdb.query_procedures("plug-in-protect-face.*", *[".*"] * 7)
        report(menus={name: pdb.lookup_procedure(name).get_menu_paths() for name in found})
    """).results
    # GIMP sorts by place and label.
    parts = ("", "-check", "-strengthen", "-worker")
    assert results["menus"] == {
        f"plug-in-protect-face{part}": [f"<Image>/Filters/Privacy/[{place}]"] for place, part in enumerate(parts, 1)
    }


def test_defaults_are_those_of_the_worker(gimp: Gimp) -> None:
    results = gimp.script("""
        config = Gimp.get_pdb().lookup_procedure("plug-in-protect-face").create_config()
        ours = {name: config.get_property(name) for name in ("prompt", "strength", "mode", "prior")}
        ours["keep_expression"] = config.get_property("keep-expression")
        _status, _error, (answer,) = call("plug-in-protect-face-worker", do="status")
        report(ours=ours, theirs=json.loads(answer)["hello"]["defaults"])
    """).results
    assert results["ours"].items() <= results["theirs"].items()


def test_registration_prints_no_complaint_of_ours(gimp: Gimp) -> None:
    output = gimp.script_alone("report()").output
    assert "plug-in-protect-face" not in output and "Traceback" not in output


def test_script_fu_can_call_it(gimp: Gimp) -> None:
    output = gimp.script_fu(f"""
        (let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "{gimp.share}/astronaut.png")))
               (layers (car (gimp-image-get-layers image))))
          (plug-in-protect-face #:run-mode RUN-NONINTERACTIVE #:image image #:drawables layers #:steps 2)
          (gimp-message (number->string (vector-length (car (gimp-image-get-layers image))))))
    """)
    assert "Warning: 2\n" in output
