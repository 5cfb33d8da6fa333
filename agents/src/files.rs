//! The directory of a person's own profiles. Whoever may write there decides
//! what stands in it, so nothing in it may hang or swamp the reader.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::ProfileError;
use crate::document::Problem;

const MOST_FILES: usize = 256;
const MOST_BYTES: u64 = 64 * 1024;

/// The files that count, in the order of their names. None where there is no
/// such directory.
pub(crate) fn list(directory: &Path) -> (Vec<PathBuf>, Vec<ProfileError>) {
    let mut errors = Vec::new();
    let mut paths = match paths(directory) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            errors.push(ProfileError::new(directory, error));
            Vec::new()
        }
    };
    paths.sort_unstable();
    if paths.len() > MOST_FILES {
        let text = format!("holds more than {MOST_FILES} profiles; the others are not read");
        errors.push(ProfileError::new(directory, text));
        paths.truncate(MOST_FILES);
    }
    (paths, errors)
}

fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        if path.extension().is_some_and(|it| it == "toml") && !is_hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    Ok(paths)
}

pub(crate) fn read(path: &Path) -> Result<String, ProfileError> {
    let mut content = Vec::new();
    let read = open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut content));
    let count = read.map_err(|error| ProfileError::new(path, error))?;
    if count as u64 > MOST_BYTES {
        return Err(ProfileError::new(path, format!("is longer than {MOST_BYTES} bytes")));
    }
    String::from_utf8(content).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let content = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
        let text = "is not UTF-8".to_owned();
        ProfileError::at(path, &content, Problem { at, key: String::new(), text })
    })
}

/// Without waiting for the other end of a pipe, and without taking a terminal
/// for our own.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is no regular file")) }
}
