#!/bin/sh
# For a custom module of waybar, with "return-type": "json" and "escape": false:
# who waits, who works.
cd "$XDG_RUNTIME_DIR/i3pm-badges" || exit
while :; do
    set -- *.json
    test -e "$1" && cat -- "$@" | jq --slurp --compact-output --unbuffered '
        def sign: if .needs_attention then "<span color=\"#fe8019\">●</span>" elif .state == "working" then "◐" else "○" end;
        sort_by(.needs_attention | not)
        | { text: map("\(sign) \(.project | @html)") | join("    "),
            class: (if any(.needs_attention) then "attention" else "" end) }' ||
        echo '{"text": ""}'
    sleep 1
done
