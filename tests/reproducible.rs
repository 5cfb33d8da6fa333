//! The BPF objects are the same bytes wherever and whenever they are built, so
//! that anyone can check what is loaded as root.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libbpf_cargo::SkeletonBuilder;

/// As `build.rs` has them.
const OBJECTS: [(&str, &[&str]); 4] = [
    ("probe.bpf.c", &["-mcpu=v2"]),
    ("timer.bpf.c", &["-mcpu=v3"]),
    ("syscalls.bpf.c", &["-mcpu=v2"]),
    ("syscalls.bpf.c", &["-mcpu=v2", "-DPERF_BUFFER"]),
];

#[test]
fn the_bpf_objects_are_the_same_in_every_checkout() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [tempfile::tempdir()?, tempfile::Builder::new().prefix("another").tempdir()?];
    for (source, arguments) in OBJECTS {
        let mut objects = Vec::new();
        for place in &places {
            let folder = place.path().join("bpf");
            fs::create_dir_all(&folder)?;
            for file in fs::read_dir(here.join("bpf"))? {
                let file = file?;
                fs::copy(file.path(), folder.join(file.file_name()))?;
            }
            // The only test in this program: nobody else minds where it is.
            std::env::set_current_dir(place.path())?;
            let object = place.path().join("object.o");
            let map = format!("-ffile-prefix-map={}=.", place.path().display());
            SkeletonBuilder::new()
                .source(format!("bpf/{source}"))
                .obj(&object)
                .clang_args([&["-I", "bpf", "-Wall", "-Werror", &map], arguments].concat())
                .build()
                .with_context(|| format!("cannot compile {source}"))?;
            objects.push(fs::read(&object)?);
        }
        ensure!(objects[0].len() > 4096, "{source} is an object");
        ensure!(objects[0] == objects[1], "{source} differs from one build to the next");
    }
    Ok(())
}
