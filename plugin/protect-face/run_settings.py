"""The settings of a run, as the procedure's arguments and as an object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gi.repository import Gimp, GObject
from worker_client.settings import (
    AMOUNTS,
    DEFAULT_KEEP_EXPRESSION,
    DEFAULT_PRIOR,
    DEFAULT_PROMPT,
    DEFAULT_STRENGTH,
    FACES,
    FULL_AMOUNT,
    LOCK_BLURB,
    LOCKS,
    MAX_AMOUNT,
    MODES,
    OUTPUTS,
    PRIORS,
)
from worker_client.texts import _

# Offers below a poor verdict.
STRONGER, ANOTHER, SHAPE = "stronger", "another", "shape"
# An argument, but not a setting of a run: every image is protected with the same settings.
ALL_IMAGES = "all-images"
_MORE_STRENGTH = 0.15
_SEED_COUNT = 2**31
_FLAGS = GObject.ParamFlags.READWRITE


@dataclass(frozen=True)
class RunSettings:
    """One run's settings; names and ranges as in the worker's protocol, ``steps`` 0 for the measured default."""

    prompt: str = DEFAULT_PROMPT
    strength: float = DEFAULT_STRENGTH
    keep_expression: bool = DEFAULT_KEEP_EXPRESSION
    lock_brows: bool = False
    lock_mouth: bool = False
    lock_nose: bool = False
    lock_jaw: bool = False
    prior: str = DEFAULT_PRIOR
    faces: str = FACES[0][0]
    mode: str = MODES[0][0]
    output: str = OUTPUTS[0][0]
    steps: int = 0
    seed: int = 0
    amount: int = FULL_AMOUNT
    shape: int = FULL_AMOUNT
    light: int = FULL_AMOUNT
    makeup: int = FULL_AMOUNT


def declare(procedure: Gimp.Procedure) -> None:
    """Adds the arguments; they appear in this order in Script-Fu and in the dialog."""
    procedure.add_string_argument(
        "prompt", _("Makeup st_yle"), _("Makeup style in plain words"), DEFAULT_PROMPT, _FLAGS
    )
    procedure.add_double_argument(
        "strength",
        _("Stren_gth"),
        _("0 is discreet, 1 is the most that a photographer could still use"),
        0.0,
        1.0,
        DEFAULT_STRENGTH,
        _FLAGS,
    )
    procedure.add_boolean_argument(
        "keep-expression",
        _("Keep e_xpression"),
        _("Brows, lips, nose and jaw are held to their form; otherwise the eyes alone are"),
        DEFAULT_KEEP_EXPRESSION,
        _FLAGS,
    )
    for name, _part, label in LOCKS:
        procedure.add_boolean_argument(name.replace("_", "-"), label, LOCK_BLURB, False, _FLAGS)
    declare_choice(procedure, "faces", _("_Faces"), _("Which faces to protect"), FACES)
    declare_choice(procedure, "output", _("Res_ult"), _("What is put above the layer"), OUTPUTS)
    declare_choice(procedure, "mode", _("Dir_ection"), _("Where recognisers shall be led"), MODES)
    declare_choice(procedure, "prior", _("Chan_ge by"), _("What draws the change"), PRIORS)
    declare_steps(procedure)
    procedure.add_int_argument(
        "seed", _("Rand_om seed"), _("Another number gives another result"), 0, _SEED_COUNT - 1, 0, _FLAGS
    )
    for name, label, blurb in AMOUNTS:
        procedure.add_int_argument(name, label, blurb, 0, MAX_AMOUNT, FULL_AMOUNT, _FLAGS)
    procedure.add_boolean_argument(
        ALL_IMAGES, _("All open image_s"), _("Every open image, each with its selected layer"), False, _FLAGS
    )


def declare_steps(procedure: Gimp.Procedure) -> None:
    """Adds the argument that says how long to search."""
    procedure.add_int_argument(
        "steps",
        _("Number of s_teps"),
        _("More take longer and protect better; 0 for the usual number"),
        0,
        10000,
        0,
        _FLAGS,
    )


def read_config(config: Gimp.ProcedureConfig) -> RunSettings:
    """The settings in the arguments."""
    return RunSettings(
        **{name: config.get_property(name.replace("_", "-")) for name in RunSettings.__dataclass_fields__}
    )


def restore_settings(stored: dict[str, Any], **others: Any) -> RunSettings:
    """The settings of an earlier run from a layer's record, with ``others`` replacing some."""
    settings = {name: stored[name] for name in RunSettings.__dataclass_fields__ if name in stored}
    return RunSettings(**(settings | others))


def apply_offer(settings: RunSettings, offer: str) -> RunSettings:
    """The settings changed as an offer says: ``STRONGER``, ``ANOTHER`` or ``SHAPE``."""
    return {
        STRONGER: replace(settings, strength=min(1.0, settings.strength + _MORE_STRENGTH)),
        ANOTHER: replace(settings, seed=(settings.seed + 1) % _SEED_COUNT),
        SHAPE: replace(settings, shape=MAX_AMOUNT),
    }[offer]


def list_offers(settings: RunSettings) -> tuple[str, ...]:
    """The offers below a poor verdict on a run, without those that would not change its result."""
    offers = (STRONGER, ANOTHER, SHAPE)
    return tuple(offer for offer in offers if _as_applied(apply_offer(settings, offer)) != _as_applied(settings))


def _as_applied(settings: RunSettings) -> RunSettings:
    """The settings with the shape multiplied by the overall amount, as in ``c2p_core.faces.amounts``."""
    return replace(settings, shape=min(MAX_AMOUNT, settings.amount * settings.shape // 100))


def declare_choice(
    procedure: Gimp.Procedure, name: str, label: str, blurb: str, values: tuple[tuple[str, str], ...]
) -> None:
    """Adds an argument with a list of values and their labels, the default first."""
    choice = Gimp.Choice.new()
    for number, (value, text) in enumerate(values):
        choice.add(value, number, text, "")
    procedure.add_choice_argument(name, label, blurb, choice, values[0][0], _FLAGS)
