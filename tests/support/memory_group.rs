//! A control group whose processes may hold only so much memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Removed when dropped, if nobody is left in it.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    counts: &'static str,
}

impl MemoryGroup {
    /// By version 1 of control groups where memory is under that, else by version 2.
    pub fn make(most_bytes: u64) -> Result<Self> {
        let name = format!("aimon-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/memory");
        let (folder, limit, counts) = if old.exists() {
            (old.join(name), "memory.limit_in_bytes", "memory.oom_control")
        } else {
            let root = Path::new("/sys/fs/cgroup");
            fs::write(root.join("cgroup.subtree_control"), "+memory")
                .context("there is no control of memory")?;
            (root.join(name), "memory.max", "memory.events")
        };
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let group = Self { folder, counts };
        fs::write(group.folder.join(limit), most_bytes.to_string())?;
        Ok(group)
    }

    /// Starts a program in it: arguments are to follow.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$1\"; shift; exec \"$@\"", "sh"]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// How many processes were ended for want of memory.
    pub fn killed(&self) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join(self.counts))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("the kernel counts them")?.trim().parse()?)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Those who were in it have been ended by whoever started them.
        let _ = fs::remove_dir(&self.folder);
    }
}
