#!/bin/sh
# Protect Face for digiKam's Batch Queue Manager, tool Custom Script:
#
#     sh /path/of/protect-face.sh $INPUT $OUTPUT
#
# Options of `c2p protect` may follow. digiKam has made $OUTPUT already, empty, and takes whatever is in it for a success.
# It gives up on a script after a minute, which several faces exceed. So the search goes on without it, one photo after
# the other, and its result waits here until the queue is run again.

c2p() { command c2p "$@"; }

input=$1
output=$2
shift 2
folder=${XDG_CACHE_HOME:-$HOME/.cache}/protect-face/digikam

# Without a file and with this code every digiKam counts the photo as failed. It says "Command not found".
fail() {
    rm -f -- "$output"
    printf 'Protect Face: %s\n' "$1" >&2
    exit 127
}

hash_all() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-64
}

is_running() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# One search at a time: each needs the whole computer. A lock of a process that is gone is void.
take_turn() {
    until ln -s "$1" "$folder/turn" 2>/dev/null; do
        kill -0 "$(readlink "$folder/turn")" 2>/dev/null || rm -f "$folder/turn"
        sleep 1
    done
}

search() {
    trap '' HUP
    me=$(exec sh -c 'echo "$PPID"')
    echo "$me" >"$result.pid"
    take_turn "$me"
    c2p protect --overwrite -o "$result" "$@" -- "$input"
    rm -f "$folder/turn" "$result.pid"
}

umask 077
mkdir -p "$folder" || fail "'$folder' can't be made"
[ -r "$input" ] || fail "'$input' can't be read"
key=$({ printf '%s\n' "$@"; cat -- "$input"; } | hash_all)
result=$folder/$key.${output##*.}
if [ ! -e "$result" ] && ! is_running "$result.pid"; then
    search "$@" </dev/null >"$result.log" 2>&1 &
    wait "$!"
fi
while is_running "$result.pid"; do sleep 1; done
# digiKam has ended the shell that runs this line, and cleared its file away: the result waits.
kill -0 "$PPID" 2>/dev/null || exit 127
[ -e "$result" ] || fail "$(tail -n 1 "$result.log")"
# Into the file that is there, which keeps the rights that digiKam gave it.
cat -- "$result" >"$output" || fail "'$output' can't be written"
rm -f "$result" "$result.log"
