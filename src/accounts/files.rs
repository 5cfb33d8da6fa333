//! Accounts by /etc/passwd and /etc/group (passwd(5), group(5)).

use std::ffi::CString;
use std::fs;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, setgroups};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

pub(crate) fn by_name(name: &str) -> nix::Result<Option<User>> {
    Ok(users(&read(PASSWD)?).find(|user| user.name == name))
}

pub(crate) fn by_uid(uid: Uid) -> nix::Result<Option<User>> {
    Ok(users(&read(PASSWD)?).find(|user| user.uid == uid))
}

/// Makes the user's groups ours. Takes root.
pub(crate) fn take_groups(user: &User) -> nix::Result<()> {
    setgroups(&groups(&read(GROUP)?, user))
}

fn read(path: &str) -> nix::Result<String> {
    let bytes =
        fs::read(path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn users(passwd: &str) -> impl Iterator<Item = User> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, passwd, uid, gid, gecos, dir, shell] = fields[..] else { return None };
        Some(User {
            name: name.to_owned(),
            passwd: CString::new(passwd).ok()?,
            uid: Uid::from_raw(uid.parse().ok()?),
            gid: Gid::from_raw(gid.parse().ok()?),
            gecos: CString::new(gecos).ok()?,
            dir: dir.into(),
            shell: shell.into(),
        })
    })
}

/// The user's own group first.
fn groups(group: &str, user: &User) -> Vec<Gid> {
    let others = group.lines().filter_map(|line| {
        let (rest, members) = line.rsplit_once(':')?;
        let gid = Gid::from_raw(rest.rsplit(':').next()?.parse().ok()?);
        let is_member = members.split(',').any(|it| it == user.name);
        (is_member && gid != user.gid).then_some(gid)
    });
    std::iter::once(user.gid).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_those_whom_the_name_services_find() {
        let root = User::from_name("root").unwrap().unwrap();
        assert_eq!(by_name("root").unwrap(), Some(root.clone()));
        assert_eq!(by_uid(Uid::from_raw(0)).unwrap(), Some(root));
        assert_eq!(by_name("nobody-is-called-this").unwrap(), None);
    }

    #[test]
    fn takes_the_own_group_and_those_that_name_the_user() {
        let passwd = "broken:x\nalice:x:1000:100:A. Lice,,,:/home/alice:/bin/sh\n";
        let group = "wheel:x:10:bob,alice\nusers:x:100:alice\nvideo:x:44:malice\nnone:x:7:\nbad";
        let alice = users(passwd).next().unwrap();
        assert_eq!(alice.dir.to_str(), Some("/home/alice"));
        assert_eq!(groups(group, &alice), [100, 10].map(Gid::from_raw));
    }
}
