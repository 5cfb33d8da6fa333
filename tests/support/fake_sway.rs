//! A Sway that only tells its windows: for trees of thousands of them, and for
//! machines without a desktop.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use serde_json::{Value, json};

use super::user::TestUser;

/// Kinds of questions: sway-ipc(7).
const SUBSCRIBE: u32 = 2;
const GET_TREE: u32 = 4;
const HEADER_BYTES: usize = 14;
/// Of a window's siblings.
const ON_ONE_WORKSPACE: usize = 300;

/// Answers in the user's runtime directory until the test process ends.
/// `windows`: the number of each, and the process that shows it.
pub fn start(user: &TestUser, windows: &[(u64, u32)]) -> Result<()> {
    let path = user.make_folder("runtime")?.join(format!("sway-ipc.{}.1.sock", user.uid()));
    let listener = UnixListener::bind(&path)?;
    user.own(&path)?;
    let tree: Arc<str> = tree(windows).to_string().into();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tree = Arc::clone(&tree);
            thread::spawn(move || answer(stream, &tree));
        }
    });
    Ok(())
}

/// Until they hang up.
fn answer(mut stream: UnixStream, tree: &str) -> std::io::Result<()> {
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let [length, kind] = [6, 10].map(|at| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_ne_bytes(bytes)
        });
        stream.read_exact(&mut vec![0; length as usize])?;
        let text = match kind {
            SUBSCRIBE => r#"{"success":true}"#,
            GET_TREE => tree,
            _ => "[]",
        };
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        stream.write_all(&[b"i3-ipc", &length.to_ne_bytes()[..], &kind.to_ne_bytes()].concat())?;
        stream.write_all(text.as_bytes())?;
    }
}

/// As `get_tree` gives it.
pub fn tree(windows: &[(u64, u32)]) -> Value {
    let workspaces = windows.chunks(ON_ONE_WORKSPACE).zip(100_000_u64..).map(|(windows, id)| {
        let windows = windows.iter().map(|(id, pid)| node(*id, "con", Some(*pid), Vec::new()));
        node(id, "workspace", None, windows.collect())
    });
    let output = node(200_000, "output", None, workspaces.collect());
    node(200_001, "root", None, vec![output])
}

fn node(id: u64, kind: &str, pid: Option<u32>, nodes: Vec<Value>) -> Value {
    let rect = json!({ "x": 0, "y": 0, "width": 1280, "height": 720 });
    json!({
        "id": id, "name": format!("window {id}"), "type": kind, "pid": pid, "nodes": nodes,
        "floating_nodes": [], "focus": [], "focused": false, "urgent": false, "sticky": false,
        "border": "pixel", "current_border_width": 2, "layout": "splith", "orientation": "none",
        "percent": 0.5, "rect": rect, "window_rect": rect, "deco_rect": rect, "geometry": rect,
        "marks": [], "app_id": "foot", "shell": "xdg_shell", "visible": true, "fullscreen_mode": 0,
    })
}
