//! Many programs, each on a terminal of its own, and one thread that reads all
//! that they write.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{Timespec, epoll};
use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Dropping it ends the programs.
#[derive(Debug)]
pub struct Crowd {
    masters: Arc<Vec<File>>,
    children: Vec<Child>,
    ttys: Vec<String>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Crowd {
    /// The programs must make the terminal on their standard input their own.
    pub fn start(count: usize, mut command: impl FnMut(usize) -> Command) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        let (mut masters, mut children, mut ttys) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let (master, slave, tty) = open_terminal()?;
            let mut command = command(number);
            command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
            children.push(command.spawn().context("cannot start a program of the crowd")?);
            masters.push(master);
            ttys.push(tty);
        }
        let (masters, is_over) = (Arc::new(masters), Arc::new(AtomicBool::new(false)));
        let (read, over) = (Arc::clone(&masters), Arc::clone(&is_over));
        let reader = Some(thread::spawn(move || read_all(&read, &over)));
        Ok(Self { masters, children, ttys, is_over, reader })
    }

    pub fn ttys(&self) -> &[String] {
        &self.ttys
    }

    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// The same keys to each.
    pub fn write(&self, keys: &[u8]) -> Result<()> {
        (0..self.masters.len()).try_for_each(|number| self.write_to(number, keys))
    }

    pub fn write_to(&self, number: usize, keys: &[u8]) -> Result<()> {
        let mut master = self.masters.get(number).context("no such program")?;
        master.write_all(keys).context("cannot write to a terminal of the crowd")
    }

    /// By SIGKILL, and one by one no more.
    pub fn kill(&mut self) -> Result<()> {
        self.children.iter_mut().try_for_each(Child::kill)?;
        for child in &mut self.children {
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.kill();
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn open_terminal() -> Result<(File, File, String)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).context("no more terminals")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?;
    let path = path.to_str()?;
    let no_tty = OFlags::NOCTTY.bits().cast_signed();
    let slave = OpenOptions::new().read(true).write(true).custom_flags(no_tty).open(path)?;
    let name = path.trim_start_matches("/dev/").to_owned();
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((File::from(master), slave, name))
}

fn read_all(masters: &[File], is_over: &AtomicBool) {
    let Ok(set) = epoll::create(epoll::CreateFlags::CLOEXEC) else { return };
    for (number, master) in masters.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        let _ = epoll::add(&set, master, data, epoll::EventFlags::IN);
    }
    let mut buffer = vec![0; 65536];
    let mut events = Vec::with_capacity(256);
    let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !is_over.load(Ordering::Relaxed) {
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&set, spare, Some(&patience)).is_err() {
            continue;
        }
        for event in &events {
            let Ok(number) = usize::try_from(event.data.u64()) else { continue };
            let Some(mut master) = masters.get(number) else { continue };
            // It hung up: nobody is there any more.
            if matches!(master.read(&mut buffer), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock)
            {
                let _ = epoll::delete(&set, master);
            }
        }
        // One that reads at once would take a core for itself.
        thread::sleep(Duration::from_millis(1));
    }
}
