#!/bin/bash
# Writes what packages ship beside the program itself:
#   packaging/dist.sh PROGRAM DIRECTORY
set -euo pipefail
program=$1 dist=$2
name=ebpf-ai-monitor

mkdir -p "$dist"
rm -rf "$dist/man"
"$program" manual "$dist/man"
"$program" completions bash >"$dist/$name.bash"
"$program" completions fish >"$dist/$name.fish"
"$program" completions zsh >"$dist/_$name"

gzip -9 -n -c CHANGELOG.md >"$dist/changelog.gz"

# In Debian's own form, as every package must have one.
version=$("$program" --version)
seconds=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
cat >"$dist/changelog.debian" <<END
$name (${version##* }-1) unstable; urgency=medium

  * What is new is told in changelog.gz beside this.

 -- $(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)  $(date -R -u -d "@$seconds")
END
