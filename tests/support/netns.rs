//! A network with nothing but loopback, so that an agent reaches the scripted model and nobody
//! else.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::fd::AsFd,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace; it lives as long as this value or a process or socket in it.
#[derive(Debug)]
pub struct NetworkNamespace(File);

impl NetworkNamespace {
    /// Needs root.
    pub fn create() -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare")?;
        let mut answer = String::new();
        if let Some(stdout) = &mut holder.stdout {
            BufReader::new(stdout).read_line(&mut answer)?;
        }
        let namespace = File::open(format!("/proc/{}/ns/net", holder.id()));
        // The open file keeps the namespace; the end of its input ends the holder.
        drop(holder.stdin.take());
        holder.wait()?;
        ensure!(answer == "up\n", "cannot bring up loopback in a new network namespace");
        Ok(Self(namespace.context("cannot open the new network namespace")?))
    }

    /// Runs `work` on a thread inside: what it starts or binds there stays there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.0.as_fd(), network)
                    .context("cannot enter the network namespace")?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
