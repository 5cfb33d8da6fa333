//! zellij: its server holds the terminals, and each client is a process on a
//! terminal of its own, at the other end of one of the server's sockets.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ebpf_ai_monitor_core::Pid;
use tracing::debug;

use super::peers::peers_of;
use crate::{proc, terminals};

/// The kernel's name of servers and of clients.
pub(super) const NAME: &str = "zellij";

/// The session of a server, which was told where to listen:
/// `zellij --server /run/user/1000/zellij/contract_version_1/SESSION`.
pub(super) fn session(pid: Pid) -> Option<String> {
    let words = fs::read(format!("/proc/{}/cmdline", pid.0)).ok()?;
    let words: Vec<&[u8]> = words.split(|&byte| byte == 0).collect();
    let [_, b"--server", socket, ..] = words[..] else { return None };
    let socket = String::from_utf8_lossy(socket);
    Some(Path::new(&*socket).file_name()?.to_string_lossy().into_owned())
}

/// The terminals of a server's clients, by their numbers. `sockets` are the
/// server's.
pub(super) fn clients(server: Pid, sockets: &BTreeSet<u32>) -> BTreeSet<u32> {
    let peers = match peers_of(sockets) {
        Ok(peers) => peers,
        Err(error) => {
            debug!("zellij {}: {error:#}", server.0);
            return BTreeSet::new();
        }
    };
    let is_client = |pid: &Pid| *pid != server && !terminals::sockets(*pid).is_disjoint(&peers);
    let named = |pid: Pid| proc::stat(pid).filter(|stat| stat.comm == NAME);
    let candidates = proc::all().into_iter().filter_map(|pid| Some((named(pid)?, pid)));
    candidates.filter(|(_, pid)| is_client(pid)).filter_map(|(stat, _)| stat.pts()).collect()
}
