#!/bin/bash
# Checks the Nix files and the two units without nixpkgs: form, evaluation, and
# that both units say the same. Needs nix-instantiate, nixfmt, deadnix and
# systemd-analyze.
set -euo pipefail
cd "$(dirname "$0")/../.."
export NIX_CONFIG="build-users-group ="
template=packaging/ebpf-ai-monitor@.service
files=(flake.nix nix/*.nix nix/check/*.nix)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
passed=0 failed=0

# check NAME COMMAND...: it must succeed and say nothing on standard error.
check() {
    local name=$1
    shift
    if "$@" >"$work/out" 2>"$work/errors" && [[ ! -s $work/errors ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        sed 's/^/    /' "$work/out" "$work/errors"
    fi
}

evaluate() {
    nix-instantiate --eval --strict --json --store dummy:// nix/check --attr "$1"
}

# Each file that Rust code takes in when it is compiled must be in the package.
in_package() {
    local file included whole
    while IFS=: read -r file included; do
        whole=$(realpath -m "$(dirname "$file")/$included")
        jq -e --arg file "$whole" 'any(. as $it | $file == $it or ($file | startswith($it + "/")))' \
            "$work/source" >/dev/null || echo "$file includes $whole" >&2
    done < <(grep -rEo --include=*.rs 'include_(str|bytes)!\("[^"]+"' src core agents build.rs |
        sed 's/include_[a-z]*!("\(.*\)"$/\1/')
}

# The settings of a service, one word a line, but for what differs by its nature.
settings() {
    sed -n '/^\[Service\]/,/^\[Install\]/ s/^\([A-Za-z]*\)=\(.*\)/\1 \2/p' "$1" |
        awk '$1 !~ /^(ExecStart|ExecReload|User|StateDirectory)$/ {
            for (i = 2; i <= NF; i++) print $1, ($i == "yes" ? "true" : $i)
        }' | sort -s -k1,1
}

for file in "${files[@]}"; do
    check "$file parses" nix-instantiate --parse --store dummy:// "$file"
done
check "the format is nixfmt's" nixfmt --check "${files[@]}"
check "no name is unused" deadnix --fail "${files[@]}"

evaluate failures >"$work/failures"
failed_cases=$(jq 'length' "$work/failures")
jq -r '.[] | "FAILED: " + .' "$work/failures"
failed=$((failed + failed_cases)) passed=$((passed + $(evaluate passed | jq 'length')))

evaluate source >"$work/source"
check "the package is built from all that its code includes" in_package

# A user and programs that this machine has, so that only the settings count.
evaluate unit | jq -r . |
    sed -e 's#/nix/store/[^ "]*#/bin/true#' -e 's/^User=alice$/User=daemon/' >"$work/nixos.service"
sed 's#/usr/bin/ebpf-ai-monitor#/bin/true#' "$template" >"$work/ebpf-ai-monitor@.service"
ln -s ebpf-ai-monitor@.service "$work/ebpf-ai-monitor@daemon.service"
for unit in nixos.service ebpf-ai-monitor@.service ebpf-ai-monitor@daemon.service; do
    check "$unit: systemd finds nothing wrong" systemd-analyze verify "$work/$unit"
done
for unit in nixos.service ebpf-ai-monitor@.service; do
    check "$unit: exposed by 3.0 at most" \
        systemd-analyze security --offline=true --threshold=30 --no-pager "$work/$unit"
done
settings "$template" >"$work/ours"
settings "$work/nixos.service" >"$work/nixos"
check "the module and the template have the same settings" diff "$work/ours" "$work/nixos"

echo "$passed passed, $failed failed"
((failed == 0))
