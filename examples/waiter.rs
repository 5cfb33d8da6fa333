//! For tests: waits for its terminal's input in one of the ways that programs
//! do, or writes numbered sequences mixed with text.

use std::io::{Read as _, Write as _, stdin, stdout};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread::sleep;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::select::{FdSet, select};
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

#[derive(Debug, Parser)]
struct Cli {
    how: How,
    #[arg(long)]
    raw: bool,
    /// Wait in a thread that is not the first
    #[arg(long)]
    thread: bool,
    /// Sequences to write
    #[arg(long, default_value_t = 20_000)]
    count: u32,
    /// Between two writes, in microseconds
    #[arg(long, default_value_t = 0)]
    pace: u64,
    /// Compute in silence for so long before it waits
    #[arg(long, default_value_t = 0)]
    busy: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    Read,
    Poll,
    Select,
    Epoll,
    IoUringRead,
    IoUringPoll,
    /// Reads all that comes, and drops it.
    Take,
    /// Waits for something else in the way of event loops.
    EpollElsewhere,
    PollElsewhere,
    /// Never waits: sleeps.
    Sleep,
    /// Writes numbered sequences.
    Write,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    setsid()?;
    ioctl_tiocsctty(stdin())?;
    let mut mode = tcgetattr(stdin())?;
    if cli.raw {
        mode.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &mode)?;
    }
    if let How::Write = cli.how {
        // A line says when to begin: what comes before is not scanned.
        stdin().read_exact(&mut [0])?;
        write_sequences(cli.count, Duration::from_micros(cli.pace))?;
        stdin().read_exact(&mut [0])?;
        return Ok(());
    }
    write!(stdout(), "> ")?;
    stdout().flush()?;
    let end = std::time::Instant::now() + Duration::from_millis(cli.busy);
    while std::time::Instant::now() < end {
        std::hint::spin_loop();
    }
    if cli.thread {
        let waiter = std::thread::spawn(move || wait(cli.how));
        return waiter.join().expect("the waiter does not panic");
    }
    wait(cli.how)
}

/// Returns when there was input.
fn wait(how: How) -> anyhow::Result<()> {
    let stdin = stdin();
    match how {
        How::Read => {}
        How::Poll => {
            poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None)?;
        }
        How::Select => {
            let mut set = FdSet::new();
            set.insert(stdin.as_fd());
            select(None, &mut set, None, None, None)?;
        }
        How::Epoll => {
            let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&set, &stdin, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            let mut events = Vec::with_capacity(1);
            epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
        }
        How::IoUringRead => {
            let mut byte = [0];
            let read = opcode::Read::new(types::Fd(stdin.as_raw_fd()), byte.as_mut_ptr(), 1);
            return wait_in_ring(&read.build());
        }
        How::IoUringPoll => {
            let events = u32::from(PollFlags::IN.bits());
            let poll = opcode::PollAdd::new(types::Fd(stdin.as_raw_fd()), events);
            return wait_in_ring(&poll.build());
        }
        How::EpollElsewhere => {
            let (reader, _writer) = std::io::pipe()?;
            let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&set, &reader, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            let mut events = Vec::with_capacity(1);
            epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
        }
        How::PollElsewhere => {
            let (reader, _writer) = std::io::pipe()?;
            poll(&mut [PollFd::new(&reader, PollFlags::IN)], None)?;
        }
        How::Take => loop {
            stdin.lock().read_exact(&mut [0])?;
        },
        How::Sleep | How::Write => loop {
            sleep(Duration::from_secs(3600));
        },
    }
    stdin.lock().read_exact(&mut [0])?;
    Ok(())
}

fn wait_in_ring(request: &squeue::Entry) -> anyhow::Result<()> {
    let mut ring = IoUring::new(4)?;
    // SAFETY: the caller keeps what the request points to until this returns,
    // and it is waited for here.
    unsafe { ring.submission().push(request)? };
    ring.submit_and_wait(1)?;
    Ok(())
}

/// Text of 1 to 3000 bytes with one sequence somewhere in it, over and over.
fn write_sequences(count: u32, pace: Duration) -> anyhow::Result<()> {
    const CONTROLS: [&str; 4] = ["\x1b[31m", "\x1b[2K", "\r\n", "\x1b[0m"];
    let mut dice = Dice(7);
    let mut out = std::fs::File::from(stdout().as_fd().try_clone_to_owned()?);
    let mut text = Vec::with_capacity(8192);
    for number in 0..count {
        let length = 1 + dice.roll(3000);
        let place = dice.roll(length);
        text.clear();
        for at in 0..length {
            if at == place {
                let end = if number % 3 == 0 { "\x1b\\" } else { "\x07" };
                write!(text, "\x1b]7501;state=working:n={number:05}{end}")?;
            }
            if at % 80 == 79 {
                text.extend_from_slice(CONTROLS[dice.roll(4)].as_bytes());
            }
            text.push(b'a' + u8::try_from(at % 26)?);
        }
        out.write_all(&text)?;
        if !pace.is_zero() {
            sleep(pace);
        }
    }
    Ok(())
}

/// A small generator of repeatable randomness (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("it is below `sides`")
    }
}
