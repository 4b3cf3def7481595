"""The user's recent prompts, saved by GIMP."""

from __future__ import annotations

import json

from gi.repository import Gimp

_PARASITE = "protect-face-recent"
_KEPT = 8


def list_prompts() -> list[str]:
    """Latest first."""
    parasite = Gimp.get_parasite(_PARASITE)
    if parasite is None:
        return []
    try:
        prompts = json.loads(bytes(parasite.get_data()))
    except ValueError:
        return []
    return [str(prompt) for prompt in prompts][:_KEPT] if isinstance(prompts, list) else []


def add_prompt(prompt: str) -> None:
    """Makes a prompt the latest."""
    prompts = [prompt, *(other for other in list_prompts() if other != prompt)][:_KEPT]
    Gimp.attach_parasite(Gimp.Parasite.new(_PARASITE, Gimp.PARASITE_PERSISTENT, json.dumps(prompts).encode()))
