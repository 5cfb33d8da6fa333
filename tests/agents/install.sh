#!/bin/sh
# Installs the pinned real agents below DIR: nothing global, no lock file.
# usage: install.sh DIR
set -eu

claude=2.1.330
codex=0.169.0

dir=${1:?usage: install.sh DIR}
bin=$dir/node_modules/.bin

is_installed() {
    [ -x "$bin/claude" ] && [ -x "$bin/codex" ] &&
        grep -q "\"version\": \"$claude\"" "$dir/node_modules/@anthropic-ai/claude-code/package.json" &&
        grep -q "\"version\": \"$codex\"" "$dir/node_modules/@openai/codex/package.json" &&
        # Before its install script ran, claude is a stub of a few hundred bytes.
        [ "$(wc -c <"$bin/claude")" -gt 1000000 ]
}

is_installed && exit 0

for tool in node npm; do
    command -v "$tool" >/dev/null || { echo "install.sh: $tool is missing: install nodejs and npm" >&2; exit 1; }
done
echo "installing claude $claude and codex $codex into $dir (about 800 MB)" >&2
mkdir -p "$dir"
npm install --silent --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --prefix "$dir" \
    "@anthropic-ai/claude-code@$claude" "@openai/codex@$codex"
node "$dir/node_modules/@anthropic-ai/claude-code/install.cjs"
is_installed || { echo "install.sh: the agents in $dir are not complete: remove it and try again" >&2; exit 1; }
