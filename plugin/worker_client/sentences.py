# -*- coding: utf-8 -*-
"""What the worker, its client and the library tell a user in English, for the catalogue: whole, or with gaps."""

from __future__ import unicode_literals

import re
from string import Formatter

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable


def N_(text):
    # type: (str) -> str
    """Marks a text that is translated when it is shown."""
    return text


# The first that fits is taken: the ones with less in their gaps come first.
SENTENCES = (
    # Starting and reaching the worker
    N_("The worker does not answer; restart it."),
    N_("run 'python3 install.py --gimp' in the folder of Protect Face"),
    N_("Protect Face's worker is not installed; {repair}, then try again."),
    N_("The file {path} can't be read; {repair}, then try again."),
    N_(
        "The plug-in (protocol {ours}) and the installed worker (protocol {theirs}) do not fit together; {repair}, then"
        " try again."
    ),
    N_(
        "The plug-in (protocol {ours}) and the worker that is running (protocol {theirs}) do not fit together; {repair}"
        " and restart GIMP."
    ),
    N_("The plug-in and the worker do not fit together ({why}); {repair} and restart GIMP."),
    N_("The folder {path} can't be written ({why}); free some space or repair its permissions."),
    N_("The worker's program {path} can't be started ({why}); {repair}, which repairs it."),
    N_("The worker could not start ({why}); {repair}, which repairs it."),
    N_("The worker could not start; {repair}, which repairs it."),
    N_("The worker did not answer within {seconds} seconds ({why}); {repair}, which repairs it."),
    N_("The worker did not answer within {seconds} seconds; {repair}, which repairs it."),
    N_("The worker does not get ready; {repair}, which restarts it."),
    N_("The worker does not answer; {repair}, which ends it."),
    N_("The worker can't compute ({why}); {repair}, which repairs it."),
    N_(
        "This GIMP comes from Flatpak and may not start programs; open a terminal, run '{command}', and try again while"
        " it runs."
    ),
    N_("This GIMP comes from Flatpak and may not start programs; open a terminal, run '{command}', and try again."),
    N_("The token is wrong, so the worker does not answer; restart GIMP."),
    N_("{count} processor cores"),
    # The end of a job
    N_("The worker ended in the middle of its work and nothing was changed; try again, it starts by itself."),
    N_("The worker was ended; nothing was changed."),
    N_("Stopped on request; nothing was changed."),
    N_("Stopped; nothing was changed."),
    N_(
        "The process that computes died ({why}) and nothing was changed; close other programs if memory may be short,"
        " and try again."
    ),
    N_("The graphics card has too little free memory for this; close other programs that use it, and try again."),
    N_("This computer has too little free memory for this; close other programs, or protect fewer faces at once."),
    N_("Too many pixels wait for the worker; try again when other jobs are done."),
    N_("Unexpected {error} (nothing was changed; please report this with the worker's log)."),
    N_("Something unforeseen went wrong in the worker; please report it with its log, {log}."),
    N_("The picture could not be sent ({why}); {fault}"),
    N_("The worker's answer was not understood ({why}); {fault}"),
    N_("Something else than the worker answers ({why}); {fault}"),
    N_("this is an error in Protect Face; please report it with the worker's log."),
    N_("The worker did not understand the plug-in ({why}); please report this with its log."),
    N_("The worker knows no job {kind}; {repair}, which updates it."),
    # Faces and wishes
    N_("No face can be protected: {reason}; use a larger version of the photo."),
    N_("the eyes are {distance} px apart and at least {least} px are needed"),
    N_("A picture of {width} x {height} pixels has no face; choose a larger layer."),
    N_("A face that was there before is not found any more; look for the faces again."),
    N_("Face {number} can't be protected: {reason}."),
    N_("Not every face was protected: {why}"),
    N_("The selection leaves nothing of the change; select the face, or select nothing."),
    N_("The prompt is longer than 300 characters; a few words are enough."),
    N_("The word {word} means nothing to the text model; closest known words: {words}."),
    N_("The word {word} means nothing to the text model."),
    N_(
        "No word of the prompt names makeup, so that none is painted; name a product and a colour, such as red"
        " lipstick."
    ),
    N_("The {setting} {value} has no meaning; it goes from {low} to {high}."),
    N_("The photo's colour profile is damaged or does not fit its pixels; its colours were taken for sRGB."),
    # Models
    N_(
        "{file} in {folder} lacks its {missing}: put {missing}.* beside it ({endings}), or move it away to use the"
        " generator that comes with this program."
    ),
    N_("The graphics card has too little memory for the whole inversion; it is done without tuning."),
    N_("The graphics card has too little memory to invert this face; the processor does it."),
    N_("The graphics card has too little memory; the search asks one recogniser at a time."),
    N_("The graphics card has too little memory for this photo; the processor protected it."),
    N_("The graphics card has too little memory for this check; the processor did it."),
    N_("PyTorch can't use the graphics card ({why}); the processor does its work."),
    N_("No face recogniser can be had. {why}"),
    N_("Without the recogniser {name}: {why}"),
    N_("Only one family of recognisers is here, so that none is left for an honest figure; install the program again."),
    N_(
        "The model {name} is not there or incomplete ({source}); run `c2p models fetch {again}` once with a network,"
        " without --offline."
    ),
    N_("The model {name} is not there or incomplete ({source}); install the program again."),
    N_("The model {name} could not be fetched ({why}); check the network and run `c2p models fetch {again}`."),
    N_("The model {name} is damaged: {path} has another content than it should; run `c2p models fetch {again}`."),
    N_("The model {name} is damaged: {path} has another content than it should; install the program again."),
    N_("The model {name} is damaged: install the program again."),
    N_("The model file {path} can't be read ({why}); check its rights."),
    N_("Models can't be stored in {folder} ({why}); free some space or choose another folder with {variable}."),
)


def in_words(sentence, translate):
    # type: (str, Callable[[str], str]) -> str
    """A sentence of the worker's with its gaps filled anew, and what fills them translated too where it is known.

    Args:
        sentence: in English.
        translate: gives the user's language for a text of the catalogue, and other texts as they are.
    """
    known = translate(sentence)
    if known != sentence:
        return known
    for text in SENTENCES:
        names, pattern = _pattern(text)
        found = pattern.match(sentence) if names else None
        if found:
            return translate(text).format(
                **{str(name): in_words(part, translate) for name, part in zip(names, found.groups())}
            )
    return sentence


def _pattern(text):
    # type: (str) -> tuple[list[str], re.Pattern[str]]
    """The names of a text's gaps, and what fits it."""
    parts = list(Formatter().parse(text))
    words = "".join(re.escape(part[0]) + ("" if part[1] is None else "(.+?)") for part in parts)
    return [part[1] for part in parts if part[1] is not None], re.compile(words + r"\Z", re.DOTALL)
