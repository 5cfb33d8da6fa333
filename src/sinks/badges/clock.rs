//! When the time of day jumps: somebody set it, or the machine slept. Badges
//! bear it, and their readers take old ones for dead.

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Calls after each jump, until that gives false. Sleeps in between: the timer
/// never ends, it only is cancelled (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)).
pub(super) fn follow(tell: impl Fn() -> bool) -> anyhow::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)
        .context("cannot follow the clock")?;
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let never =
        Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: i64::MAX, tv_nsec: 0 } };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&timer, flags, &never).context("cannot follow the clock")?;
    loop {
        match rustix::io::read(&timer, &mut [0; 8]) {
            Err(Errno::CANCELED) if tell() => {}
            Err(Errno::CANCELED) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot follow the clock"),
        }
    }
}
