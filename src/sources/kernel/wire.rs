//! From the kernel's bytes to events and records. What they mean is decided elsewhere.

use ebpf_ai_monitor_core::{BootTime, Input, Mode, Pid, ProcessId, Sequence, WaitKind};

use super::skeletons::syscalls::types as syscalls;
use super::skeletons::types;

/// What a hook told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: BootTime,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Exec {
        process: ProcessId,
        parent: Pid,
        comm: String,
    },
    Fork {
        child: ProcessId,
        parent: Pid,
    },
    Exit {
        process: ProcessId,
        parent: Option<Pid>,
    },
    Output {
        process: ProcessId,
    },
    Quiet {
        process: ProcessId,
        last_output: BootTime,
    },
    Input {
        terminal: u32,
        input: Input,
    },
    Sequence {
        terminal: u32,
        sequence: Sequence,
    },
    Gap {
        terminal: u32,
        bytes: u64,
    },
    Redraw {
        terminal: u32,
    },
    /// It uses a descriptor that is not known. Told by the syscall probe only,
    /// and not passed on.
    Descriptor {
        process: ProcessId,
    },
}

/// What the iterator `look` tells of one process, or of one of its waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookRecord {
    pub process: ProcessId,
    /// `None` before it wrote for the first time since it was watched.
    pub last_output: Option<BootTime>,
    /// 0 where the terminal's traffic cannot be seen.
    pub terminal: u32,
    /// Major and minor number; `None` without a controlling terminal.
    pub tty: Option<(u32, u32)>,
    pub is_canonical: bool,
    pub wait: Option<WaitKind>,
}

/// Who holds the master of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRecord {
    pub terminal: u32,
    pub owner: ProcessId,
    pub comm: String,
}

/// Types that the kernel side writes as they are.
///
/// # Safety
///
/// The type must hold integers and arrays of them only, without holes, so that
/// every bit pattern is a value and every byte is set.
pub(super) unsafe trait Wire: Copy {}

macro_rules! wire {
    ($module:ident, $($name:ident: $size:literal),*) => {$(
        // The other half of the assertions in bpf/events.h.
        const _: () = assert!(size_of::<$module::$name>() == $size);
        // SAFETY: see bpf/: integers and arrays of them only, and no holes.
        unsafe impl Wire for $module::$name {}
    )*};
}

wire!(types, event_header: 16, process_event: 48, output_event: 40, input_event: 24,
      sequence_event: 152, gap_event: 24, redraw_event: 24, look_record: 40, owner_record: 32,
      session: 48);
wire!(syscalls, agent: 80, doing: 40, call: 24);

/// Returns `None` for bytes that are too short and kinds that this build does not know.
pub fn decode(bytes: &[u8]) -> Option<Event> {
    let header: types::event_header = read(bytes)?;
    let terminal = header.terminal;
    let what = match header.kind {
        types::event_kind::EVENT_EXEC => {
            let event: types::process_event = read(bytes)?;
            What::Exec {
                process: id(event.tgid, event.started_at_ns),
                parent: Pid(event.parent_tgid),
                comm: text(&event.comm),
            }
        }
        types::event_kind::EVENT_FORK => {
            let event: types::process_event = read(bytes)?;
            let child = id(event.tgid, event.started_at_ns);
            What::Fork { child, parent: Pid(event.parent_tgid) }
        }
        types::event_kind::EVENT_EXIT => {
            let event: types::process_event = read(bytes)?;
            let process = id(event.tgid, event.started_at_ns);
            What::Exit {
                process,
                parent: (event.parent_tgid != 0).then_some(Pid(event.parent_tgid)),
            }
        }
        types::event_kind::EVENT_OUTPUT => {
            let event: types::output_event = read(bytes)?;
            What::Output { process: id(event.tgid, event.started_at_ns) }
        }
        types::event_kind::EVENT_QUIET => {
            let event: types::output_event = read(bytes)?;
            What::Quiet {
                process: id(event.tgid, event.started_at_ns),
                last_output: BootTime::from_nanos(event.last_output_ns),
            }
        }
        types::event_kind::EVENT_INPUT => {
            What::Input { terminal, input: input(read::<types::input_event>(bytes)?) }
        }
        types::event_kind::EVENT_SEQUENCE => {
            What::Sequence { terminal, sequence: sequence(&read(bytes)?) }
        }
        types::event_kind::EVENT_GAP => {
            What::Gap { terminal, bytes: read::<types::gap_event>(bytes)?.bytes }
        }
        types::event_kind::EVENT_REDRAW => {
            read::<types::redraw_event>(bytes)?;
            What::Redraw { terminal }
        }
        types::event_kind::EVENT_DESCRIPTOR => {
            let event: types::process_event = read(bytes)?;
            What::Descriptor { process: id(event.tgid, event.started_at_ns) }
        }
        _ => return None,
    };
    Some(Event { at: BootTime::from_nanos(header.at_ns), what })
}

/// All whole records that an iterator wrote.
pub(super) fn decode_looks(bytes: &[u8]) -> impl Iterator<Item = LookRecord> {
    records::<types::look_record>(bytes).map(|record| LookRecord {
        process: id(record.tgid, record.started_at_ns),
        last_output: (record.last_output_ns != 0)
            .then(|| BootTime::from_nanos(record.last_output_ns)),
        terminal: record.terminal,
        tty: (record.tty_major != 0).then_some((record.tty_major, record.tty_minor)),
        is_canonical: record.is_canonical != 0,
        wait: wait_kind(record.wait.0),
    })
}

/// `enum wait_kind` of bpf/events.h.
pub(super) fn wait_kind(number: u32) -> Option<WaitKind> {
    match types::wait_kind(number) {
        types::wait_kind::WAIT_READ => Some(WaitKind::Read),
        types::wait_kind::WAIT_POLL => Some(WaitKind::Poll),
        types::wait_kind::WAIT_EPOLL => Some(WaitKind::Epoll),
        types::wait_kind::WAIT_IO_URING => Some(WaitKind::IoUring),
        _ => None,
    }
}

pub(super) fn decode_agents(bytes: &[u8]) -> impl Iterator<Item = Event> {
    bytes.chunks_exact(size_of::<types::process_event>()).filter_map(decode)
}

pub(super) fn decode_owners(bytes: &[u8]) -> impl Iterator<Item = OwnerRecord> {
    records::<types::owner_record>(bytes).map(|record| OwnerRecord {
        terminal: record.terminal,
        owner: id(record.tgid, record.started_at_ns),
        comm: text(&record.comm),
    })
}

/// A counter in memory that the kernel side writes at any time.
pub(super) fn read_shared(counter: &u64) -> u64 {
    // SAFETY: a reference is valid and aligned.
    unsafe { std::ptr::from_ref(counter).read_volatile() }
}

fn input(event: types::input_event) -> Input {
    let has = |class: types::input_class| event.classes.0 & class.0 != 0;
    Input {
        bytes: event.bytes,
        enter: has(types::input_class::INPUT_ENTER),
        escape: has(types::input_class::INPUT_ESCAPE),
        interrupt: has(types::input_class::INPUT_INTERRUPT),
        focus_in: has(types::input_class::INPUT_FOCUS_IN),
        focus_out: has(types::input_class::INPUT_FOCUS_OUT),
    }
}

fn sequence(event: &types::sequence_event) -> Sequence {
    match event.text.get(..event.length as usize) {
        Some([]) | None => Sequence::Bell,
        Some(b"?2004h") => Sequence::PasteMode(Mode::Set),
        Some(b"?2004l") => Sequence::PasteMode(Mode::Reset),
        Some(text) => Sequence::Osc(String::from_utf8_lossy(text).into_owned()),
    }
}

fn id(tgid: u32, started_at_ns: u64) -> ProcessId {
    ProcessId { pid: Pid(tgid), started_at: BootTime::from_nanos(started_at_ns) }
}

/// A C string in a fixed field. `comm` is the user's to choose, so it may hold anything.
fn text(bytes: &[impl AsByte]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(AsByte::as_byte).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// C's `char` is signed on some machines and unsigned on others.
trait AsByte {
    fn as_byte(&self) -> u8;
}

impl AsByte for i8 {
    fn as_byte(&self) -> u8 {
        self.cast_unsigned()
    }
}

impl AsByte for u8 {
    fn as_byte(&self) -> u8 {
        *self
    }
}

fn records<T: Wire>(bytes: &[u8]) -> impl Iterator<Item = T> {
    bytes.chunks_exact(size_of::<T>()).filter_map(read)
}

/// The bytes of a map's value.
pub(super) fn bytes_of<T: Wire>(value: &T) -> &[u8] {
    // SAFETY: a reference is valid for its size, and by `Wire` every byte is set.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Returns `None` for bytes that are too short.
pub(super) fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the slice is long enough, `read_unaligned` asks for no alignment,
    // and by `Wire` every bit pattern is a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
