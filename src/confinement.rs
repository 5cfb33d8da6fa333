//! What the daemon may never ask of the kernel again, once it is the user's own
//! process. What it starts (hooks, tmux) may neither. The why of each is in
//! docs/security.md.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Other processes, and the kernel's own affairs. No service of a person needs
/// any of it.
const DENIED: [i64; 33] = [
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    // New worlds, in which the user is root.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    // What exploits of the kernel are made with.
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    // The machine's own affairs.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
];

/// What is asked of `bpf(2)` after the start, from `enum bpf_cmd`: entries of
/// maps that are open, and iterators of programs that are.
const BPF_COMMANDS: [u64; 5] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    28, // BPF_LINK_CREATE
    33, // BPF_ITER_CREATE
];

/// For this thread, those that it starts, and all that they start. There is no
/// way back. Needs `no_new_privs`.
pub(crate) fn confine() -> anyhow::Result<()> {
    let program = filter().context("cannot make the filter of system calls")?;
    seccompiler::apply_filter(&program).context("cannot give up system calls")
}

fn filter() -> anyhow::Result<BpfProgram> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.into_iter().map(|call| (call, Vec::new())).collect();
    let other_command =
        |command| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, command);
    let conditions = BPF_COMMANDS.into_iter().map(other_command).collect::<Result<Vec<_>, _>>()?;
    denied.insert(libc::SYS_bpf, vec![SeccompRule::new(conditions)?]);
    let errno = libc::EPERM.cast_unsigned();
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(
        denied,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        architecture,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_confined_thread_and_its_children_get_no_and_live_on() {
        let thread = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("always allowed");
            confine().expect("always allowed");
            Command::new("unshare").args(["--user", "true"]).output().expect("it is there")
        });
        let child = thread.join().expect("it lives");
        let complaint = String::from_utf8_lossy(&child.stderr);
        assert!(complaint.contains("Operation not permitted"), "{complaint}");
    }
}
