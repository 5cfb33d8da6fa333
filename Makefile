# The words of this project; `make` alone lists them.
#
# Cargo runs as the person who calls, also under `sudo make`, so that what it
# builds is theirs. Only the built programs run as root, by sudo.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Whose agents are watched: the caller's, or those of who called sudo.
SELF := $(shell id -un)
CALLER := $(or $(if $(filter root,$(SELF)),$(SUDO_USER)),$(SELF))
CALLER_HOME := $(shell getent passwd $(CALLER) | cut -d: -f6)
AS_ROOT := $(if $(filter-out root,$(SELF)),sudo)
AS_CALLER := $(if $(filter-out $(SELF),$(CALLER)),sudo -H -u $(CALLER))

TARGET := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(PATH):$(CALLER_HOME)/.cargo/bin
# In a checkout of root's, where the caller may not write, root builds.
BUILDER := $(if $(AS_CALLER),$(shell $(AS_CALLER) test -w . && echo $(CALLER) || echo root),$(SELF))
AS_BUILDER := $(if $(filter-out $(SELF),$(BUILDER)),$(AS_CALLER))
IN_BUILD := $(AS_BUILDER) env PATH="$(PATH)" CARGO_TARGET_DIR="$(TARGET)"
CARGO := $(IN_BUILD) cargo
# How cargo starts the tests and benchmarks that need root, unless root it is.
BY_SUDO := $(if $(filter-out root,$(BUILDER)),--config 'target."cfg(unix)".runner="sudo -E env PATH=$(PATH)"')

# Not in a home: the users that the tests make must be able to read it.
AGENTS_DIR ?= /var/cache/ebpf-ai-monitor/agents
ZELLIJ_DIR ?= /var/cache/ebpf-ai-monitor/zellij

# Kernels and root file systems of emulated machines.
KERNELS_DIR ?= /var/cache/ebpf-ai-monitor/kernels

# Recordings that are too big to keep here; scored where they are.
RECORDINGS_DIR ?= ../shared/recordings

# Where `make install` puts all, and a tree to be packed in front of that.
PREFIX ?= /usr/local
DESTDIR ?=
UNIT_DIR ?= $(PREFIX)/lib/systemd/system
DIST := target/dist
INSTALLED := bin/ebpf-ai-monitor \
	share/bash-completion/completions/ebpf-ai-monitor \
	share/zsh/site-functions/_ebpf-ai-monitor \
	share/fish/vendor_completions.d/ebpf-ai-monitor.fish

# program:package, on Debian and Ubuntu.
TO_BUILD := clang:clang gcc:gcc pkg-config:pkg-config
TO_RUN := setsid:util-linux script:bsdutils
TO_TEST := tmux:tmux ip:iproute2 unshare:util-linux perl:perl-base useradd:passwd node:nodejs npm:npm
# A desktop without a screen, and what is opened in it.
TO_TEST += sway:sway swaync:sway-notification-center foot:foot xterm:xterm kitty:kitty
TO_TEST += alacritty:alacritty Xwayland:xwayland grim:grim wtype:wtype
TO_TEST += dbus-daemon:dbus-daemon dbus-monitor:dbus-bin dbus-send:dbus-bin
TO_TEST += mako:mako-notifier dunst:dunst screen:screen gnome-terminal:gnome-terminal
# zellij is built: tests/zellij/install.sh.
TO_TEST += make:make perl:perl bwrap:bubblewrap mkfs.ext4:e2fsprogs
TO_TEST += waybar:waybar jq:jq fish:fish zsh:zsh man:man-db
# libelf and zlib as part of the program.
TO_LINK := autoconf:autoconf automake:automake autopoint:autopoint gettext:gettext
TO_LINK += flex:flex bison:bison gawk:gawk make:make
TO_PACK := dpkg-shlibdeps:dpkg-dev
TO_EMULATE := qemu-system-x86_64:qemu-system-x86 qemu-system-aarch64:qemu-system-arm
TO_EMULATE += aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu mmdebstrap:mmdebstrap cpio:cpio
TO_CHECK_NIX := nix-instantiate:nix-bin systemd-analyze:systemd jq:jq

.PHONY: help setup setup-tests setup-static setup-packages setup-bench setup-nix setup-kernels build run demo \
	test test-kernels test-host check check-nix audit score fuzz bench scale soak pictures dist install uninstall \
	deb rpm static clean

help: ## List these words
	@echo "make WORD, where WORD is one of"
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Install what building and running lack
setup: NEEDED := $(TO_BUILD) $(TO_RUN)
setup-tests: ## Install what the tests lack besides: tmux, and node for the real agents
setup-tests: NEEDED := $(TO_TEST)
setup-tests: setup
setup-static: NEEDED := $(TO_LINK)
setup-static: setup
setup-packages: NEEDED := $(TO_PACK)
setup-packages: setup
setup-bench: NEEDED := bpftrace:bpftrace tmux:tmux cc:gcc useradd:passwd
setup-bench: setup
setup-nix: NEEDED := $(TO_CHECK_NIX)
setup-nix: setup

setup-kernels: ## Install what the emulated machines need, but for their kernels
setup-kernels: NEEDED := $(TO_EMULATE)
setup-kernels: setup

# Quick where all is there: nothing is asked of the network.
setup setup-tests setup-static setup-packages setup-bench setup-nix setup-kernels:
	@missing=() packages=()
	for pair in $(NEEDED); do
		command -v "$${pair%%:*}" >/dev/null && continue
		missing+=("$${pair%%:*}") packages+=("$${pair##*:}")
	done
	for pair in libelf:libelf-dev zlib:zlib1g-dev; do
		pkg-config --exists "$${pair%%:*}" 2>/dev/null && continue
		missing+=("$${pair%%:*}") packages+=("$${pair##*:}")
	done
	if (( $${#missing[@]} )); then
		if ! command -v apt-get >/dev/null; then
			echo "setup: missing: $${missing[*]}. Install them with this system's package manager." >&2
			exit 1
		fi
		echo "setup: installing $${packages[*]} ca-certificates"
		$(AS_ROOT) apt-get update -qq
		$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends "$${packages[@]}" ca-certificates
	fi
	$(IN_BUILD) bash -c 'command -v cargo' >/dev/null && exit
	if [[ $$(apt-cache policy rustup 2>/dev/null) == *Candidate:\ [0-9]* ]]; then
		echo "setup: installing rustup, and by it Rust, for $(BUILDER)"
		$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq rustup
		$(IN_BUILD) rustup default stable
	else
		echo "setup: cargo is missing. Install Rust 1.88 or newer: see https://rustup.rs" >&2
		exit 1
	fi

build: ## Build the release
# `demo` hands its AGENT on to here.
build: setup
	@$(CARGO) build --release --bins $(if $(AGENT),--example $(AGENT))

run: ## Watch your agents, live; q quits. ARGS="--threshold 2000" is passed on
demo: ## The same with a scripted agent that works and waits by turns
demo: AGENT := scripted_agent
run demo: build
	@monitor=$$(realpath "$(TARGET)/release/ebpf-ai-monitor")
	as_root() { $(AS_ROOT) "$$@"; }
	as_caller() { $(AS_CALLER) "$$@"; }
	# Prints the pid. In another session no Ctrl-C and no end of sudo reaches it.
	in_background=(setsid --wait sh -c '"$$@" </dev/null >/dev/null & echo $$!' sh)
	log=$$(mktemp) folder=$$(as_caller mktemp -d) daemon= agent=
	finish() {
		# A pid alone is not a name: see that it is still ours.
		if grep -qs "^ebpf-ai-monitor$$" "/proc/$$daemon/comm"; then
			kill "$$daemon" 2>/dev/null || as_root kill "$$daemon"
		fi
		if grep -qs "^script$$" "/proc/$$agent/comm"; then kill "$$agent"; fi
		rm "$$log"
		as_caller rm -r "$$folder"
	}
	trap finish EXIT
	trap 'exit 130' INT TERM HUP
	if [[ -n "$(AGENT)" ]]; then
		# In a folder of its own it gets along with a monitor that runs already.
		where=(--runtime-dir "$$folder/runtime")
		options=("$${where[@]}" --processes claude codex "$(AGENT)")
	else
		where=() options=()
		if as_caller "$$monitor" list >/dev/null 2>&1; then
			echo "a monitor of $(CALLER) runs already: this is its view"
			as_caller "$$monitor" watch
			exit
		fi
	fi
	daemon=$$(as_root "$${in_background[@]}" \
		"$$monitor" --user "$(CALLER)" $(ARGS) "$${options[@]}" 2>"$$log")
	for _ in {1..300}; do
		grep -qs " ready: " "$$log" && break
		[[ -d /proc/$$daemon ]] || break
		sleep 0.1
	done
	grep -qs " ready: " "$$log" || { cat "$$log" >&2; exit 1; }
	if [[ -n "$(AGENT)" ]]; then
		program=$$(realpath "$(TARGET)/release/examples/$(AGENT)")
		agent=$$(as_caller "$${in_background[@]}" \
			script --quiet --flush --command "exec '$$program'" /dev/null 2>/dev/null)
	fi
	as_caller "$$monitor" watch "$${where[@]}" || { cat "$$log" >&2; exit 1; }

test: ## Run every test, those with the real agents too
test: setup-tests
	@$(AS_ROOT) install -d -o $(BUILDER) "$(AGENTS_DIR)" "$(ZELLIJ_DIR)"
	$(IN_BUILD) tests/agents/install.sh "$(AGENTS_DIR)"
	$(IN_BUILD) tests/zellij/install.sh "$(ZELLIJ_DIR)"
	where=(AGENTS_DIR="$(AGENTS_DIR)" ZELLIJ_DIR="$(ZELLIJ_DIR)")
	if [[ $(BUILDER) == root ]]; then
		env "$${where[@]}" $(CARGO) test --workspace
	else
		$(CARGO) test -p ebpf-ai-monitor-core -p ebpf-ai-monitor-agents
		$(CARGO) test --lib --bins --examples
		$(IN_BUILD) "$${where[@]}" $${CI:+CI=$$CI} cargo $(BY_SUDO) test --test '*'
	fi

test-kernels: ## Run the kernel's tests on other kernels, in emulated machines. KERNELS="6.1 6.12"
test-kernels: setup-kernels
	@$(AS_ROOT) tests/kernels/fetch.sh "$(KERNELS_DIR)"
	# Where it cannot be had, the row of that processor says so.
	$(IN_BUILD) rustup target add aarch64-unknown-linux-gnu ||
		echo "test-kernels: no Rust for aarch64"
	$(IN_BUILD) KERNELS_DIR="$(KERNELS_DIR)" KERNELS="$(KERNELS)" \
		cargo test --test kernels -- --ignored --nocapture

test-host: ## Install the package on an emulated host with systemd and Sway, and use it
test-host: setup-kernels deb
	@$(AS_ROOT) tests/kernels/fetch.sh "$(KERNELS_DIR)"
	$(CARGO) build --example scripted_agent
	package=$$(realpath "$$(ls -t "$(TARGET)"/debian/*.deb | head -n 1)")
	$(IN_BUILD) KERNELS_DIR="$(KERNELS_DIR)" PACKAGE="$$package" \
		cargo test --test host -- --ignored --nocapture

check: ## Check the format; run clippy, warnings denied
check: setup
	@$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

check-nix: ## Check the Nix files and the units, without nixpkgs
# nixfmt_rs, which cargo can install, formats byte for byte as nixfmt does.
check-nix: setup-nix
	@for tool in nixfmt:nixfmt_rs@0.5.3 deadnix:deadnix@1.3.1; do
		$(IN_BUILD) bash -c "command -v $${tool%%:*}" >/dev/null && continue
		$(CARGO) install --locked "$${tool##*:}"
	done
	$(IN_BUILD) nix/check/run.sh

score: ## Compare the scores of recordings with docs/detection.md. UPDATE_SCORES=1 renews
score: setup
	@unset RECORDINGS_DIR
	options=($${UPDATE_SCORES:+UPDATE_SCORES=1})
	if [[ -d "$(RECORDINGS_DIR)" ]]; then
		options+=("RECORDINGS_DIR=$$(realpath "$(RECORDINGS_DIR)")")
	fi
	$(IN_BUILD) "$${options[@]}" cargo test --quiet --test scores

fuzz: ## Feed what reads strangers' bytes with nonsense, 10 minutes each. FUZZ_SECONDS=60
fuzz: setup
	@if ! $(IN_BUILD) rustup run nightly rustc --version >/dev/null 2>&1; then
		echo "fuzz: installing nightly Rust for $(BUILDER): cargo-fuzz needs it"
		if ! $(IN_BUILD) rustup toolchain install nightly --profile minimal; then
			echo "fuzz: cargo-fuzz needs nightly Rust by rustup: see https://rustup.rs" >&2
			exit 1
		fi
	fi
	if ! $(CARGO) fuzz --version >/dev/null 2>&1; then $(CARGO) install --locked cargo-fuzz; fi
	for target in recording sequence scan transcript; do
		$(IN_BUILD) mkdir -p "fuzz/corpus/$$target"
		$(CARGO) +nightly fuzz run "$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -- \
			-max_total_time=$(or $(FUZZ_SECONDS),600) -timeout=10
	done

bench: ## Measure observers side by side: cost, delay, errors. PARTS="turns own unwatched instructions sessions"
bench: setup-bench setup-kernels
	@$(CARGO) build --release --example scripted_agent
	$(AS_ROOT) tests/kernels/fetch.sh "$(KERNELS_DIR)"
	$(IN_BUILD) BENCH_DIR="$(CURDIR)/docs/benchmarks" PARTS="$(PARTS)" KERNELS_DIR="$(KERNELS_DIR)" \
		cargo $(BY_SUDO) bench --bench observers
	if [[ -z "$(PARTS)" || " $(PARTS) " == *" sessions "* ]]; then
		$(CARGO) $(BY_SUDO) bench --bench sessions
	fi

scale: ## Measure a thousand sessions, and twenty. SESSIONS=200 measures so many
scale: setup
	@$(CARGO) build --release --examples
	for sessions in $(or $(SESSIONS),1000 20); do
		$(IN_BUILD) SESSIONS=$$sessions cargo $(BY_SUDO) test --release --test crowd
	done

soak: ## Mixed load for an hour: nothing grows, everything is right. SOAK_SECONDS=60
soak: setup
	@$(CARGO) build --release --examples
	$(IN_BUILD) SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) cargo $(BY_SUDO) test --release --test soak

audit: ## Check what is built in: licences, sources, bans, known weaknesses. OFFLINE=1 without the last
audit: setup
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then
		echo "audit: installing cargo-deny for $(BUILDER)"
		$(CARGO) install --locked cargo-deny
	fi
	$(CARGO) deny check licenses bans sources
	if [[ -n "$(OFFLINE)" ]]; then
		echo "audit: NOT checked: known weaknesses; their list comes from github.com" >&2
	else
		$(CARGO) deny check advisories
	fi

pictures: ## Make the pictures of the docs anew, from the real programs without a screen
pictures: setup-tests
	@$(IN_BUILD) SCREENSHOTS="$(CURDIR)/docs/pictures" cargo $(BY_SUDO) test \
		--test pictures --test views -- --include-ignored

dist: build
	@$(IN_BUILD) packaging/dist.sh "$(TARGET)/release/ebpf-ai-monitor" "$(DIST)"

install: ## Install the program, its unit, manual and completions. PREFIX=/usr/local DESTDIR=
install: dist
	@root="$(DESTDIR)$(PREFIX)"
	as_root() { $(if $(DESTDIR),,$(AS_ROOT)) "$$@"; }
	put() { as_root install -D -m "$$1" "$$2" "$$3"; }
	put 755 "$(TARGET)/release/ebpf-ai-monitor" "$$root/bin/ebpf-ai-monitor"
	put 644 "$(DIST)/ebpf-ai-monitor.bash" "$$root/share/bash-completion/completions/ebpf-ai-monitor"
	put 644 "$(DIST)/_ebpf-ai-monitor" "$$root/share/zsh/site-functions/_ebpf-ai-monitor"
	put 644 "$(DIST)/ebpf-ai-monitor.fish" "$$root/share/fish/vendor_completions.d/ebpf-ai-monitor.fish"
	for page in "$(DIST)"/man/*.1; do put 644 "$$page" "$$root/share/man/man1/$${page##*/}"; done
	sed "s#^ExecStart=/usr/bin/#ExecStart=$(PREFIX)/bin/#" packaging/ebpf-ai-monitor@.service |
		put 644 /dev/stdin "$(DESTDIR)$(UNIT_DIR)/ebpf-ai-monitor@.service"
	if [[ -z "$(DESTDIR)" && -d /run/systemd/system ]]; then
		as_root systemctl daemon-reload
		as_root systemctl try-restart 'ebpf-ai-monitor@*.service'
	fi

uninstall: ## Remove what `install` put there, with the same PREFIX and DESTDIR
	@root="$(DESTDIR)$(PREFIX)"
	as_root() { $(if $(DESTDIR),,$(AS_ROOT)) "$$@"; }
	if [[ -z "$(DESTDIR)" && -d /run/systemd/system ]]; then
		as_root systemctl stop 'ebpf-ai-monitor@*.service'
		as_root rm -f /etc/systemd/system/multi-user.target.wants/ebpf-ai-monitor@*.service
	fi
	as_root rm -f "$(DESTDIR)$(UNIT_DIR)/ebpf-ai-monitor@.service" \
		"$$root"/share/man/man1/ebpf-ai-monitor{,-*}.1 $(INSTALLED:%="$$root"/%)
	if [[ -z "$(DESTDIR)" && -d /run/systemd/system ]]; then as_root systemctl daemon-reload; fi

deb: ## Build a package for Debian and Ubuntu
deb: setup-packages dist
	@if ! $(CARGO) deb --version >/dev/null 2>&1; then $(CARGO) install --locked cargo-deb; fi
	$(CARGO) deb --no-build

rpm: ## Build a package for Fedora and its kin
rpm: dist
	@if ! $(IN_BUILD) bash -c 'command -v cargo-generate-rpm' >/dev/null; then
		$(CARGO) install --locked cargo-generate-rpm
	fi
	$(CARGO) generate-rpm

static: ## Build the program as one file that needs no library
static: setup-static
	@host=$$($(IN_BUILD) rustc -vV | sed -n 's/^host: //p')
	$(IN_BUILD) RUSTFLAGS="-C target-feature=+crt-static" \
		cargo build --release --bins --features vendored --target "$$host"
	ls -l "$(TARGET)/$$host/release/ebpf-ai-monitor"

clean: ## Remove what was built
	$(CARGO) clean
