"""The GIMP in which the scripts of the other tests run: no script meets what an earlier one did."""

from __future__ import annotations

import pytest

from tests.host.gimp import Gimp

pytestmark = pytest.mark.host


# What a script could find of another one.
LOOK = """
    colour = list(Gimp.context_get_foreground().get_rgba())[:3]
    report(images=len(Gimp.get_images()), colour=colour, names="left_over" in globals())
"""


def test_a_script_sees_no_images_colours_or_names_of_an_earlier_one(gimp: Gimp) -> None:
    left = """
    left_over, _ = portrait()
    Gimp.context_set_foreground(Gegl.Color.new("red"))
    """
    found = [gimp.script(text).results for text in (LOOK + left, LOOK)]
    assert found == [{"images": 0, "colour": [0.0, 0.0, 0.0], "names": False}] * 2


def test_a_script_that_raises_fails_with_its_output(gimp: Gimp) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        gimp.script("1 / 0")


def test_after_a_script_that_ended_gimp_the_next_one_gets_another(gimp: Gimp) -> None:
    with pytest.raises(AssertionError, match="GIMP ended"):
        gimp.script("os.kill(os.getppid(), 9)")
    assert gimp.script("report(images=len(Gimp.get_images()))").results == {"images": 0}
