//! Accounts by whatever /etc/nsswitch.conf names.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Uid, User, initgroups};

pub(crate) fn by_name(name: &str) -> nix::Result<Option<User>> {
    User::from_name(name)
}

pub(crate) fn by_uid(uid: Uid) -> nix::Result<Option<User>> {
    User::from_uid(uid)
}

/// Makes the user's groups ours. Takes root.
pub(crate) fn take_groups(user: &User) -> nix::Result<()> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    initgroups(&name, user.gid)
}
