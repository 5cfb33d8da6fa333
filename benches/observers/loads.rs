//! What programs do all the time, in bursts: what an observer may make dearer.

use std::fs::File;
use std::io::{Read as _, Write as _, pipe};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::fs::OFlags;
use rustix::process::getppid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// `count` operations at a time.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) count: u32,
    pub(crate) run: fn(u32) -> Result<()>,
}

pub(crate) const LOADS: [Load; 8] = [
    Load { name: "null system call (getppid)", count: 200_000, run: call_getppid },
    Load { name: "read of 1 byte (/dev/zero)", count: 100_000, run: read_bytes },
    Load { name: "epoll_wait, nothing ready", count: 100_000, run: wait_in_vain },
    Load { name: "dd bs=1, a byte", count: 50_000, run: copy_by_dd },
    Load { name: "pipe ping-pong, a round trip", count: 5_000, run: play_ping_pong },
    Load { name: "fork and exec of true", count: 40, run: start_programs },
    Load { name: "compile of a small C file", count: 1, run: compile },
    Load { name: "64 bytes through a terminal", count: 4_000, run: write_to_terminal },
];

fn call_getppid(count: u32) -> Result<()> {
    for _ in 0..count {
        std::hint::black_box(getppid());
    }
    Ok(())
}

fn read_bytes(count: u32) -> Result<()> {
    let mut zero = File::open("/dev/zero")?;
    for _ in 0..count {
        zero.read_exact(&mut [0])?;
    }
    Ok(())
}

fn wait_in_vain(count: u32) -> Result<()> {
    let (reader, _writer) = pipe()?;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&set, &reader, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    let mut events = Vec::with_capacity(1);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    for _ in 0..count {
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
    }
    Ok(())
}

fn copy_by_dd(count: u32) -> Result<()> {
    let mut dd = Command::new("dd");
    dd.args(["if=/dev/zero", "of=/dev/null", "bs=1", "status=none", &format!("count={count}")]);
    ensure!(dd.status()?.success(), "dd failed");
    Ok(())
}

fn play_ping_pong(count: u32) -> Result<()> {
    let (mut hear, mut answer_to) = pipe()?;
    let (mut asked, mut ask) = pipe()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while asked.read_exact(&mut byte).is_ok() && answer_to.write_all(&byte).is_ok() {}
        });
        for _ in 0..count {
            ask.write_all(&[1])?;
            hear.read_exact(&mut [0])?;
        }
        drop(ask);
        Ok(())
    })
}

fn start_programs(count: u32) -> Result<()> {
    for _ in 0..count {
        ensure!(Command::new("true").status()?.success(), "true failed");
    }
    Ok(())
}

fn compile(count: u32) -> Result<()> {
    const SOURCE: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
        int main(void) { char text[64] = \"a\"; return puts(strcat(text, getenv(\"HOME\"))); }\n";
    for _ in 0..count {
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-x", "c", "-", "-S", "-o", "/dev/null"]).stdin(Stdio::piped());
        let mut cc = cc.spawn().context("cannot start cc")?;
        cc.stdin.take().context("it is piped")?.write_all(SOURCE.as_bytes())?;
        ensure!(cc.wait()?.success(), "cc failed");
    }
    Ok(())
}

/// The one way of the kernel that the hooks lie on.
fn write_to_terminal(count: u32) -> Result<()> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?;
    let no_terminal_of_ours = OFlags::NOCTTY.bits().cast_signed();
    let mut slave =
        File::options().write(true).custom_flags(no_terminal_of_ours).open(path.to_str()?)?;
    let mut mode = tcgetattr(&slave)?;
    mode.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &mode)?;
    let mut master = File::from(master);
    for _ in 0..count {
        slave.write_all(&[b'x'; 64])?;
        master.read_exact(&mut [0; 64])?;
    }
    Ok(())
}
