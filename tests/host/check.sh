#!/bin/bash
# Runs in a host that has booted, as root: installs the package, logs a user in,
# and sees that the service does what it should, through a restart and a crash.
# Tells one line for each step, and `EXIT=` with 0 where all went well.
set -u

unit=ebpf-ai-monitor@alice.service
uid=$(id -u alice)
badges=/run/user/$uid/i3pm-badges

failures=0

finish() {
    echo "EXIT=$((failures > 0))"
    systemctl --no-block --force --force poweroff
    exit
}

# What a person needs to see why.
tell_all() {
    journalctl --no-pager --boot --unit "$unit" --lines 20
    as_alice ebpf-ai-monitor doctor
    as_alice ebpf-ai-monitor list --json
    as_alice swaymsg --socket "$(ls "/run/user/$uid"/sway-ipc.*)" --type get_tree
    ls -la "/run/user/$uid" "$badges"
    tail -n 20 /home/alice/*.log
}

as_alice() {
    runuser -u alice -- env XDG_RUNTIME_DIR="/run/user/$uid" "$@"
}

# step WHAT COMMAND...: within a minute, asked again and again.
step() {
    local what=$1 begun=$SECONDS
    shift
    until "$@" >/tmp/said 2>&1; do
        if ((SECONDS - begun > 60)); then
            echo "failed: $what"
            cat /tmp/said
            tell_all
            failures=$((failures + 1))
            return
        fi
        sleep 0.5
    done
    echo "ok: $what ($((SECONDS - begun)) s)"
}

has_no_complaint() {
    local said
    said=$("$@" 2>&1) && [[ -z $said ]] || { echo "$said"; false; }
}

is_exposed_little() {
    systemd-analyze security --no-pager --threshold=30 "$unit"
}

has_only_two_capabilities() {
    local set
    systemctl show --property User,AmbientCapabilities,CapabilityBoundingSet "$unit" | sort |
        tee /dev/stderr | diff - <(
            echo "AmbientCapabilities=cap_perfmon cap_bpf"
            echo "CapabilityBoundingSet=cap_perfmon cap_bpf"
            echo "User=alice"
        )
}

main_pid() {
    systemctl show --property MainPID --value "$unit"
}

# Of the process: CAP_PERFMON is 38, CAP_BPF is 39. None is used once it is ready.
runs_as_the_user() {
    local status
    status=$(<"/proc/$(main_pid)/status")
    echo "$status"
    grep -q "^Uid:	$uid	$uid	$uid	$uid$" <<<"$status" &&
        grep -q '^CapBnd:	000000c000000000$' <<<"$status" &&
        grep -q '^CapPrm:	0000000000000000$' <<<"$status" &&
        grep -q '^CapEff:	0000000000000000$' <<<"$status" &&
        grep -q '^NoNewPrivs:	1$' <<<"$status"
}

is_active() {
    systemctl --no-pager status "$unit" && [[ $(systemctl is-active "$unit") == active ]]
}

has_session() {
    loginctl list-sessions --no-legend | grep -q ' alice .*tty1'
}

has_badge() {
    # Her only window has the focus, so it does not call.
    cat "$badges"/*.json && grep -q '"state":"stopped"' "$badges"/*.json
}

has_no_badge() {
    [[ -z $(ls "$badges") ]]
}

lists_the_waiting_agent() {
    as_alice ebpf-ai-monitor list --json | tee /dev/stderr | grep -q '"phase": *"waiting"'
}

runs_anew() {
    local pid
    pid=$(main_pid)
    ((pid != 0 && pid != before)) && is_active
}

step "the package installs" dpkg --install /package.deb
step "systemd has no complaint about the unit" \
    has_no_complaint systemd-analyze verify "$unit"
step "its exposure is at most 3.0" is_exposed_little
grep 'Overall exposure' /tmp/said
step "it is enabled" systemctl enable --now "$unit"
step "it is active before anybody logs in" is_active
step "it was given two capabilities only" has_only_two_capabilities
step "it runs as the user, and gave up even these" runs_as_the_user
step "alice logs in" systemctl start getty@tty1.service
step "logind has her session" has_session
step "the badge of the waiting agent appears" has_badge
step "the agent is listed as waiting" lists_the_waiting_agent

before=$(main_pid)
step "it is restarted" systemctl restart "$unit"
step "it is active again" runs_anew
step "the badge is there again" has_badge
step "the agent is listed again" lists_the_waiting_agent

before=$(main_pid)
step "it is killed" kill -KILL "$before"
step "systemd starts it again" runs_anew
step "the agent is listed after the crash" lists_the_waiting_agent
# What nobody claims is removed within 5 s of the start.
sleep 7
step "the badge is there after the crash" has_badge

step "it is stopped" systemctl stop "$unit"
step "its badges are taken away" has_no_badge
finish
