//! From root, or from two capabilities, to the watched user: for good, and
//! before that for a moment.

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, User};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs,
};

use crate::accounts;

/// What loading and attaching takes.
const NEEDED: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// From this version on, maps and iterators that are open go on working
/// without any capability.
const NEEDS_NONE_SINCE: Release = Release { major: 5, minor: 19 };

/// Before it these capabilities did not exist, and CAP_SYS_ADMIN was asked for.
const EXIST_SINCE: Release = Release { major: 5, minor: 8 };

const UNPRIVILEGED_BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// Root, or a user who was given what loading takes.
pub(crate) fn can_load() -> bool {
    capabilities(None).is_ok_and(|sets| {
        [NEEDED, CapabilitySet::SYS_ADMIN].iter().any(|set| sets.effective.contains(*set))
    })
}

/// Refuses a kernel on which no map could be read once root is given up.
pub(crate) fn check_what_stays_allowed() -> anyhow::Result<()> {
    let is_old = Release::parse(&release()).is_some_and(|version| version < EXIST_SINCE);
    let setting = std::fs::read_to_string(UNPRIVILEGED_BPF).unwrap_or_default();
    if is_old && !matches!(setting.trim(), "" | "0") {
        anyhow::bail!(
            "this kernel is older than 5.8: it lets only root read BPF maps while \
             kernel.unprivileged_bpf_disabled is {}; set that to 0, or take a newer kernel",
            setting.trim()
        );
    }
    Ok(())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What this kernel obliges us to keep after loading.
pub(crate) fn kept_capabilities() -> CapabilitySet {
    kept_on(&release())
}

fn kept_on(release: &str) -> CapabilitySet {
    match Release::parse(release) {
        Some(version) if version >= NEEDS_NONE_SINCE || version < EXIST_SINCE => {
            CapabilitySet::empty()
        }
        _ => NEEDED,
    }
}

/// As `uname -r`.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Which kernel this is: 6.1 of `6.1.0-28-amd64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Release {
    pub(crate) fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(['.', '-']).map_while(|it| it.parse().ok());
        Some(Self { major: numbers.next()?, minor: numbers.next()? })
    }
}

/// Lets `act` do no more than `user` may, and is root again afterwards. Who is
/// not root acts as they are.
///
/// To be called while there is one thread, as [`become_user`].
pub(crate) fn as_user<T>(user: &User, act: impl FnOnce() -> T) -> anyhow::Result<T> {
    if !is_root() {
        return Ok(act());
    }
    let groups = nix::unistd::getgroups().context("cannot read our groups")?;
    // Before the first step: it takes back however many were made.
    let _way_back = WayBack { gid: Gid::effective(), groups };
    accounts::take_groups(user).context("cannot take the user's groups")?;
    nix::unistd::setegid(user.gid).context("cannot take the group")?;
    nix::unistd::seteuid(user.uid).context("cannot take the user")?;
    Ok(act())
}

/// Takes back root and root's groups when it is dropped.
struct WayBack {
    gid: Gid,
    groups: Vec<Gid>,
}

impl Drop for WayBack {
    fn drop(&mut self) {
        // The user first: only root may take groups.
        let is_back = nix::unistd::seteuid(Uid::from_raw(0))
            .and_then(|()| nix::unistd::setegid(self.gid))
            .and_then(|()| nix::unistd::setgroups(&self.groups));
        if is_back.is_err() {
            // Half root and half the user is no one to go on as.
            std::process::abort();
        }
    }
}

/// Becomes `user` with no more than `kept`. There is no way back: no setuid
/// program gives anything any more, and the user's other processes cannot
/// trace this one to get at its BPF descriptors.
///
/// To be called while there is one thread: the kernel keeps credentials for
/// each thread.
pub(crate) fn become_user(user: &User, kept: CapabilitySet) -> anyhow::Result<()> {
    clear_ambient_capability_set().context("cannot clear the ambient capabilities")?;
    if is_root() {
        if let Ok(sets) = capabilities(None)
            && sets.effective.contains(CapabilitySet::SETPCAP)
        {
            for capability in CapabilitySet::all().difference(kept).iter() {
                // One that this kernel does not know cannot be there either.
                let _ = rustix::thread::remove_capability_from_bounding_set(capability);
            }
        }
        set_keep_capabilities(!kept.is_empty()).context("cannot keep capabilities")?;
        accounts::take_groups(user).context("cannot take the user's groups")?;
        nix::unistd::setresgid(user.gid, user.gid, user.gid).context("cannot take the group")?;
        nix::unistd::setresuid(user.uid, user.uid, user.uid).context("cannot take the user")?;
    }
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("cannot give up capabilities")?;
    set_no_new_privs(true).context("cannot refuse new privileges")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot refuse to be traced")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_oblige_us_to_keep_two_capabilities() {
        for (release, kept) in [
            ("5.4.0-216-generic", CapabilitySet::empty()),
            ("5.8.0", NEEDED),
            ("5.10.0-28-amd64", NEEDED),
            ("5.18.19", NEEDED),
            ("5.19.0", CapabilitySet::empty()),
            ("6.1-rc3", CapabilitySet::empty()),
            ("10.0", CapabilitySet::empty()),
            ("strange", NEEDED),
        ] {
            assert_eq!(kept_on(release), kept, "{release}");
        }
    }
}
