//! Which of a process's descriptors are its controlling terminal, as `/proc`
//! tells. Read with the rights of the user, so of the user's own processes only.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use ebpf_ai_monitor_core::{Pid, TtyMode};
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::termios::{LocalModes, tcgetattr};

use crate::proc;

/// `/dev/tty`: whatever terminal controls who opens it.
const OWN_TTY: (u32, u32) = (5, 0);
/// The bit of a set in `/proc/PID/fdinfo` that stands for input.
const EPOLLIN: u32 = 1;

/// One bit for each descriptor, as in `struct agent` of bpf/syscalls.bpf.c; those
/// above are never taken for a terminal.
type Bits = [u64; 4];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// All that are open and of which it is certain whether they are the terminal.
    pub(super) known: Bits,
    /// Those that are the terminal.
    pub(super) tty: Bits,
    /// One of them that was opened by the terminal's own name.
    named: Option<u32>,
}

impl Descriptors {
    /// Of this process, which is on this terminal.
    pub(super) fn read(pid: Pid, tty: Option<(u32, u32)>) -> Self {
        let directory = format!("/proc/{}/fd", pid.0);
        let mut found = Self::default();
        let open = proc::numbers_in(&directory);
        if open.is_empty() {
            // Nothing is open, or nothing is told: ask for nothing again.
            found.known = [u64::MAX; 4];
        }
        for fd in open {
            let device = device(&format!("{directory}/{fd}"));
            let (Some(tty), Some(device)) = (tty, device) else {
                // It may take a terminal that it has open already as its own.
                if device.is_none() {
                    set(&mut found.known, fd);
                }
                continue;
            };
            set(&mut found.known, fd);
            if device == tty {
                found.named = found.named.or(Some(fd));
            }
            if device == tty || device == OWN_TTY {
                set(&mut found.tty, fd);
            }
        }
        found
    }

    /// Whether there is one that `before` has not.
    pub(super) fn adds_to(&self, before: &Self) -> bool {
        self.tty.iter().zip(&before.tty).any(|(now, then)| now & !then != 0)
    }

    /// How this terminal takes keys; `None` where it cannot be asked.
    pub(super) fn mode(&self, pid: Pid, tty: (u32, u32)) -> Option<TtyMode> {
        let path = format!("/proc/{}/fd/{}", pid.0, self.named?);
        // The process may put another file there at any time. To open that could
        // do something; to hold its place does not.
        let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let is_terminal = numbers(fstat(&place).ok()?.st_rdev) == tty;
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let terminal = is_terminal.then(|| open(path, flags, Mode::empty()).ok()).flatten()?;
        let modes = tcgetattr(terminal).ok()?;
        let is_canonical = modes.local_modes.contains(LocalModes::ICANON);
        Some(if is_canonical { TtyMode::Canonical } else { TtyMode::Raw })
    }

    pub(super) fn has_tty(&self, fd: u32) -> bool {
        let word = self.tty.get(fd as usize / 64);
        word.is_some_and(|word| word >> (fd % 64) & 1 == 1)
    }

    /// Whether this epoll set waits for the terminal's input.
    pub(super) fn are_awaited_by(&self, pid: Pid, epoll: u32) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/fdinfo/{epoll}", pid.0));
        text.unwrap_or_default()
            .lines()
            .filter_map(parse_epoll_entry)
            .any(|(fd, events)| events & EPOLLIN != 0 && self.has_tty(fd))
    }
}

/// `tfd:        4 events:       19 data: ... `: the descriptor, and what is
/// waited for in hexadecimal.
fn parse_epoll_entry(line: &str) -> Option<(u32, u32)> {
    let mut words = line.strip_prefix("tfd:")?.split_whitespace();
    let fd = words.next()?.parse().ok()?;
    let events = words.next().filter(|word| *word == "events:").and(words.next())?;
    Some((fd, u32::from_str_radix(events, 16).ok()?))
}

fn set(bits: &mut Bits, fd: u32) {
    if let Some(word) = bits.get_mut(fd as usize / 64) {
        *word |= 1 << (fd % 64);
    }
}

/// Major and minor number of a terminal, or of another device.
fn device(path: &str) -> Option<(u32, u32)> {
    Some(numbers(fs::metadata(path).ok()?.rdev())).filter(|it| *it != (0, 0))
}

fn numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_epoll_set_waits_for() {
        let line = "tfd:       12 events:       19 data:                c  pos:0 ino:4 sdev:18";
        assert_eq!(parse_epoll_entry(line), Some((12, 0x19)));
        assert_eq!(parse_epoll_entry("pos:\t0"), None);
    }
}
