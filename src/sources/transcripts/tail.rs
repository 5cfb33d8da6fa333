//! How far a file that grows by lines was read.

use std::io;
use std::os::unix::fs::FileExt as _;

use super::file::OwnFile;

/// No more is read of one file before the others get their turn.
const TURN: u64 = 256 * 1024;
/// A longer line is passed over.
const MOST_LINE: usize = 4 * 1024 * 1024;
/// What is so far behind is not caught up with: only the newest lines count.
const MOST_BEHIND: u64 = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Tail {
    inode: u64,
    /// All before was read.
    offset: u64,
    /// The start of a line whose end is not yet written.
    kept: Vec<u8>,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the start of a line, or behind what was kept of it.
    #[default]
    Line,
    /// In a line of which nothing will be read.
    Skipped,
    /// Nobody has looked yet.
    Unknown,
}

/// Whether there is more to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    Yes,
    No,
}

impl Tail {
    /// Of a file that was there before, from its end on.
    pub(super) fn after(size: u64, inode: u64) -> Self {
        Self { inode, offset: size, place: Place::Unknown, ..Self::default() }
    }

    /// Whether lines before the first to be read may tell something.
    pub(super) fn has_past(&self) -> bool {
        self.place != Place::Line
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Gives up the line that is not finished.
    pub(super) fn skip_line(&mut self) {
        self.kept = Vec::new();
        self.place = Place::Skipped;
    }

    /// Calls `each` with every line that was finished, and where it begins.
    pub(super) fn read(
        &mut self,
        own: &OwnFile,
        mut each: impl FnMut(u64, &[u8]),
    ) -> io::Result<More> {
        if own.inode != self.inode || own.size < self.offset {
            *self = Self { inode: own.inode, ..Self::default() };
        }
        if own.size - self.offset > MOST_BEHIND {
            self.offset = own.size - TURN;
            self.skip_line();
        }
        if self.place == Place::Unknown {
            let mut last = [b'\n'];
            if self.offset > 0 {
                own.file.read_at(&mut last, self.offset - 1)?;
            }
            self.place = if last == *b"\n" { Place::Line } else { Place::Skipped };
        }
        let known = self.kept.len();
        let wanted = usize::try_from(TURN.min(own.size - self.offset)).unwrap_or_default();
        self.kept.resize(known + wanted, 0);
        let count = own.file.read_at(&mut self.kept[known..], self.offset);
        self.kept.truncate(known + *count.as_ref().unwrap_or(&0));
        let first = self.offset - known as u64;
        self.offset += count? as u64;

        let mut start = 0;
        let ends = (known..self.kept.len()).filter(|at| self.kept[*at] == b'\n');
        for end in ends {
            let was_skipped = std::mem::replace(&mut self.place, Place::Line) == Place::Skipped;
            if !was_skipped && end - start <= MOST_LINE {
                each(first + start as u64, &self.kept[start..end]);
            }
            start = end + 1;
        }
        if self.place == Place::Skipped || self.kept.len() - start > MOST_LINE {
            self.skip_line();
        } else if start == self.kept.len() {
            self.kept = Vec::new();
        } else {
            self.kept.drain(..start);
            self.kept.shrink_to_fit();
        }
        Ok(if self.offset < own.size { More::Yes } else { More::No })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;

    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        path: PathBuf,
        tail: Tail,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            fs::write(&path, "").unwrap();
            Self { _dir: dir, path, tail: Tail::default() }
        }

        fn existing(text: &str) -> Self {
            let mut fixture = Self::new();
            fixture.append(text.as_bytes());
            let own = fixture.open();
            fixture.tail = Tail::after(own.size, own.inode);
            fixture
        }

        fn append(&self, bytes: &[u8]) {
            fs::OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
        }

        fn open(&self) -> OwnFile {
            OwnFile::open(&self.path, rustix::process::geteuid().as_raw()).unwrap()
        }

        fn turn(&mut self) -> (Vec<(u64, String)>, More) {
            let mut lines = Vec::new();
            let more = self.tail.read(&self.open(), |at, line| {
                lines.push((at, String::from_utf8_lossy(line).into_owned()));
            });
            (lines, more.unwrap())
        }

        /// All turns, with nothing but the texts; long ones by their length.
        fn lines(&mut self) -> Vec<String> {
            let mut all = Vec::new();
            loop {
                let (lines, more) = self.turn();
                let show = |(_, text): (u64, String)| match text.len() {
                    0..100 => text,
                    long => long.to_string(),
                };
                all.extend(lines.into_iter().map(show));
                if more == More::No {
                    return all;
                }
            }
        }

        fn append_and_read(&mut self, text: &str) -> Vec<String> {
            self.append(text.as_bytes());
            self.lines()
        }
    }

    #[test]
    fn a_line_counts_when_it_is_finished() {
        let mut log = Fixture::new();
        assert!(log.lines().is_empty());
        assert!(log.append_and_read("on").is_empty());
        assert!(log.append_and_read("").is_empty());
        assert_eq!(log.append_and_read("e\ntwo\n\nth"), ["one", "two", ""]);
        assert_eq!(log.append_and_read("ree\n"), ["three"]);
        assert!(log.append_and_read("no newline at the end").is_empty());
        assert_eq!(log.tail.kept_bytes(), 21);
        assert_eq!(log.append_and_read("\n"), ["no newline at the end"]);
        assert_eq!(log.tail.kept.capacity(), 0);
    }

    #[test]
    fn tells_where_a_line_begins() {
        let mut log = Fixture::new();
        log.append(b"one\ntw");
        assert_eq!(log.turn().0, [(0, "one".to_owned())]);
        log.append(b"o\nthree\n");
        assert_eq!(log.turn().0, [(4, "two".to_owned()), (8, "three".to_owned())]);
    }

    #[test]
    fn what_was_there_before_is_not_read() {
        let mut whole = Fixture::existing("old\n");
        assert!(whole.tail.has_past());
        assert!(whole.lines().is_empty());
        assert_eq!(whole.append_and_read("new\n"), ["new"]);

        let mut cut = Fixture::existing("old\nbegun by");
        assert_eq!(cut.append_and_read(" others\nnew\n"), ["new"]);

        let mut still_cut = Fixture::existing("old\nbegun by");
        assert!(still_cut.append_and_read(" others").is_empty());
        assert_eq!(still_cut.append_and_read(" yet\nnew\n"), ["new"]);

        assert_eq!(Fixture::existing("").append_and_read("new\n"), ["new"]);
    }

    #[test]
    fn a_file_that_shrinks_begins_anew() {
        let mut log = Fixture::existing("a long line that was read\n");
        log.append_and_read("and a part");
        fs::write(&log.path, "short\n").unwrap();
        assert_eq!(log.lines(), ["short"]);
        fs::write(&log.path, "").unwrap();
        assert!(log.lines().is_empty());
        assert_eq!(log.append_and_read("again\n"), ["again"]);
    }

    #[test]
    fn another_file_of_this_name_begins_anew() {
        let mut log = Fixture::existing("old\n");
        let other = log.path.with_extension("new");
        fs::write(&other, "a longer text\nthan before\n").unwrap();
        fs::rename(other, &log.path).unwrap();
        assert_eq!(log.lines(), ["a longer text", "than before"]);
    }

    #[test]
    fn a_turn_is_bounded() {
        let mut log = Fixture::new();
        let line = format!("{}\n", "x".repeat(99_999));
        log.append(line.repeat(6).as_bytes());
        let (lines, more) = log.turn();
        assert_eq!((lines.len(), more), (2, More::Yes));
        assert_eq!(log.turn().0.len(), 3);
        let (lines, more) = log.turn();
        assert_eq!((lines.len(), more), (1, More::No));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        for (length, is_read) in [(MOST_LINE, true), (MOST_LINE + 1, false), (3 * MOST_LINE, false)]
        {
            let mut log = Fixture::new();
            let text = format!("one\n{}\ntwo\n", "x".repeat(length));
            log.append(text.as_bytes());
            let long = length.to_string();
            let expected = if is_read { vec!["one", &long, "two"] } else { vec!["one", "two"] };
            assert_eq!(log.lines(), expected);
        }
        let mut log = Fixture::new();
        for _ in 0..3 * MOST_LINE / (1 << 20) {
            log.append(&vec![b'x'; 1 << 20]);
            assert!(log.lines().is_empty());
            assert!(log.tail.kept.capacity() <= MOST_LINE + 2 * TURN as usize);
        }
        assert_eq!(log.append_and_read("\nnew\n"), ["new"]);
    }

    #[test]
    fn what_is_far_behind_is_not_caught_up_with() {
        let mut log = Fixture::new();
        let size = 1 << 40;
        fs::OpenOptions::new().write(true).open(&log.path).unwrap().set_len(size).unwrap();
        let (lines, more) = log.turn();
        assert_eq!((lines.len(), more, log.tail.offset), (0, More::No, size));
        assert_eq!(log.append_and_read("\nnew\n"), ["new"]);
    }

    #[test]
    fn a_line_given_up_is_passed_over() {
        let mut log = Fixture::new();
        log.append_and_read("begun");
        log.tail.skip_line();
        assert_eq!(log.tail.kept_bytes(), 0);
        assert_eq!(log.append_and_read(" and ended\nnew\n"), ["new"]);
    }
}
