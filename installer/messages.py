"""The installer's errors in words, by code: what happened, and what to do. ``{name}`` stands for a field."""

from __future__ import annotations

MESSAGES = {
    # Folders and disks
    "folder-not-ours": "'{folder}' is not empty and was not made by install.py; choose another --venv.",
    "folder-hidden-by-store": (
        "Python from the Microsoft Store hides '{folder}' from GIMP; install Python from python.org and run install.py"
        " with that, or set C2P_HOME to a folder outside of AppData."
    ),
    "disk-full": "No space left on the disk of '{path}'; free about 3 GB, or choose another --venv.",
    "disk-too-small": (
        "Only {free_gb:.1f} GB are free where '{folder}' lies and about {needed_gb:.1f} are needed; free some, or"
        " choose another --venv."
    ),
    "not-writable": "Can't write '{path}' ({reason}); choose other folders with --venv and --models.",
    "not-readable": "'{path}' can't be read ({reason}); change its rights and repeat.",
    # The environment
    "venv-module-missing": (
        "This Python comes without its venv module; on Debian or Ubuntu run 'sudo apt install python3-venv', then the"
        " same command again."
    ),
    "venv-failed": "Python could not make a virtual environment in '{folder}' ({reason}); try another --venv.",
    "environment-damaged-offline": (
        "The environment is damaged ({reason}) and --offline forbids mending it; run without --offline."
    ),
    "environment-broken": "What pip installed does not work here ({reason}); report what --doctor prints.",
    "translations-missing": "There are no translations in '{checkout}', so it is not complete; get Protect Face anew.",
    "checkout-changed": "'{path}' is not as it was shipped; get Protect Face anew.",
    # pip
    "pip-disk-full": "No space left on the disk; free about 3 GB and run the same command again (log: '{log}').",
    "pip-offline": "Packages are missing and --offline forbids fetching them; run once without --offline.",
    "pip-not-permitted": "pip may not write there; choose another folder with --venv (log: '{log}').",
    "pip-no-network": "The package server can't be reached; check the network or proxy and run the command again.",
    "pip-no-distribution": (
        "There is no {requirement} for this Python or machine; try a Python from 3.10 to 3.14 (log: '{log}')."
    ),
    "pip-failed": "pip could not install the packages; its output is in '{log}'.",
    # Photos
    "photo-missing": "'{path}' is not a file; check the name.",
    "target-folder-missing": "The folder '{folder}' is not there; make it or choose another with -o.",
    "sample-failed": "Could not write the sample portrait '{path}'; name your own with --protect PHOTO.",
    # GIMP and other programs
    "gimp-missing": ("No GIMP was found. Install GIMP 3 (https://www.gimp.org/downloads/), start it once, and repeat."),
    "prompts-kept": (
        "'{path}' still holds your recent prompts; close GIMP and repeat, or delete what it has under {name}."
    ),
    "plug-in-not-ours": "'{folder}' was not made by install.py, so it stays as it is; move it away and repeat.",
    "plug-in-not-writable": "Can't write '{folder}' ({reason}); make it writable for you and repeat.",
    "zip-not-writable": "Can't write '{path}' ({reason}); free some space or repair the folder.",
    "programs-missing": (
        "Neither darktable nor digiKam, Lightroom, Nautilus or Dolphin was found. For any other program use"
        " 'c2p watch'; docs/integrations.md says how."
    ),
    "file-not-changeable": "'{path}' can't be changed ({reason}); make it writable for you and repeat.",
    "osacompile-failed": "osacompile can't make Lightroom's export action ({reason}); report this.",
    # The worker, and removing
    "worker-does-not-end": "{reason}",
    "removal-not-ours": "'{folder}' was not made by install.py, so it stays; remove it yourself if you want to.",
    "removal-not-permitted": "'{path}' can't be read or removed ({reason}); change its rights and repeat.",
    "removal-in-use": "Could not remove all of '{folder}' ({reason}); close what uses it and repeat.",
    "removal-failed": "Could not remove '{folder}' ({reason}); remove it yourself.",
    "removal-mounted": "Something is mounted in '{folder}', so it stays; unmount it and repeat.",
}
