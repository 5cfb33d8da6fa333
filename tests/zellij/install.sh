#!/bin/bash
# Builds the zellij that tests/hops.rs drives, into DIR/bin: no distribution that
# the tests run on has a package of it. Quick where it is there already.
set -euo pipefail

version=0.45.1
dir=${1:?usage: install.sh DIR}

if [[ $("$dir/bin/zellij" --version 2>/dev/null) == "zellij $version" ]]; then
    exit
fi
echo "installing zellij $version into $dir: some minutes"
target=$(mktemp -d)
trap 'rm -r "$target"' EXIT
# It is to run, not to be fast; what it fetches over the network is left out.
export CARGO_TARGET_DIR=$target CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=false
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 CARGO_PROFILE_RELEASE_STRIP=true
cargo install --quiet --locked --root "$dir" --version "=$version" --no-default-features zellij
