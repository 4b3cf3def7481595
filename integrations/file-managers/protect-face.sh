#!/bin/sh
# Protect Face in a file manager's menu: protects the chosen photos, each result beside its photo, in one run of c2p, and
# chosen folders, each into a folder of its own beside it. Nautilus runs it in the folder of the chosen files.

c2p() { command c2p "$@"; }

tell() {
    if command -v notify-send >/dev/null; then
        notify-send --app-name="Protect Face" --icon=security-high "Protect Face" "$1"
    elif command -v kdialog >/dev/null; then
        kdialog --title "Protect Face" --passivepopup "$1" 10
    else
        printf 'Protect Face: %s\n' "$1" >&2
    fi
}

# A name that begins with a dash is no option.
full() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$PWD" "$1" ;; esac; }

log=$(mktemp "${TMPDIR:-/tmp}/protect-face.XXXXXX") || exit 5
trap 'rm -f "$log"' EXIT
code=0
run() { c2p "$@" >>"$log" 2>&1 || code=$?; }

[ "$#" -gt 0 ] || { tell "Choose photos or folders on this computer first."; exit 2; }
tell "Protecting; a face takes about ten seconds on two cores."
for path do
    if [ -d "$path" ]; then
        folder=$(full "${path%/}")
        run batch "$folder" -o "$folder protected"
    fi
done
for path do
    shift
    [ -d "$path" ] || set -- "$@" "$(full "$path")"
done
[ "$#" -eq 0 ] || run protect -- "$@"
if [ "$code" -eq 0 ]; then
    tell "Done."
else
    tell "$(grep '^c2p: ' "$log" | tail -n 3)"
fi
exit "$code"
