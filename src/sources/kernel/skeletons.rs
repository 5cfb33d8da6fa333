//! What libbpf-cargo generates from bpf/.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "generated"
)]

pub(super) mod probe {
    include!(concat!(env!("OUT_DIR"), "/probe.skel.rs"));
}

pub(super) mod timer {
    include!(concat!(env!("OUT_DIR"), "/timer.skel.rs"));
}

pub(super) mod syscalls {
    include!(concat!(env!("OUT_DIR"), "/syscalls.skel.rs"));
}

pub(super) mod syscalls_perf {
    include!(concat!(env!("OUT_DIR"), "/syscalls_perf.skel.rs"));
}

pub(super) use probe::types;
