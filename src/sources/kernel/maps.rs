//! What both probes do with BPF maps.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;

use anyhow::Context as _;
use ebpf_ai_monitor_core::Pid;
use libbpf_rs::{MapCore, OpenObject, libbpf_sys};

use super::skeletons::types;

/// The kernel cuts names of threads at 15 bytes, and so do we.
const NAME_BYTES: usize = 15;

/// Where libbpf-rs keeps an object. It is small and lives as long as the
/// process in all uses but tests, so it is given away.
pub(super) fn storage() -> &'static mut MaybeUninit<OpenObject> {
    Box::leak(Box::new(MaybeUninit::uninit()))
}

pub(super) fn key(pid: Pid) -> [u8; 4] {
    pid.0.to_ne_bytes()
}

/// The key of a name in `names`.
pub(super) fn name_key(name: &str) -> [u8; size_of::<types::name>()] {
    let mut key = [0; size_of::<types::name>()];
    let cut = name.len().min(NAME_BYTES);
    key[..cut].copy_from_slice(&name.as_bytes()[..cut]);
    key
}

/// From now on no file descriptor of this map can write it; programs still can.
pub(super) fn freeze(map: &impl MapCore) -> anyhow::Result<()> {
    // SAFETY: the descriptor is open as long as the map lives.
    let result = unsafe { libbpf_sys::bpf_map_freeze(map.as_fd().as_raw_fd()) };
    if result < 0 {
        let error = std::io::Error::from_raw_os_error(-result);
        return Err(error).with_context(|| format!("cannot freeze {}", map.name().display()));
    }
    Ok(())
}

/// Whether a program's name is this one of interest, both cut.
pub(super) fn is_name(found: &str, wanted: &str) -> bool {
    name_key(found) == name_key(wanted)
}
