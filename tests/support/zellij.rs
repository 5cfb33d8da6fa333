//! The zellij that `tests/zellij/install.sh` builds.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::user::TestUser;

/// Without plugins, which zellij would compile first.
const LAYOUT: &str = "layout { pane command=\"sh\" { args \"-c\" \"{inside}\"; }; }\n";
const CONFIG: &str = "show_startup_tips false\nshow_release_notes false\n\
    session_serialization false\nlayout_dir \"{home}\"\ndefault_layout \"bare\"\n";

/// The words that start it for this user. `inside` is run in the pane of a session
/// that begins. Needs `ZELLIJ_DIR`.
pub fn zellij(user: &TestUser, inside: &str) -> Result<String> {
    let folder = std::env::var_os("ZELLIJ_DIR").context("needs ZELLIJ_DIR, see tests/zellij")?;
    let program = Path::new(&folder).join("bin/zellij").display().to_string();
    let home = user.home().display().to_string();
    user.write("bare.kdl", &LAYOUT.replace("{inside}", inside))?;
    user.write("zellij.kdl", &CONFIG.replace("{home}", &home))?;
    let sockets = user.make_folder("zellij")?.display().to_string();
    Ok(format!("env ZELLIJ_SOCKET_DIR={sockets} {program} --config {home}/zellij.kdl"))
}
