//! The daemon's edges. What it knows and decides lives in `ebpf-ai-monitor-core`.

mod accounts;
pub mod cli;
mod client;
mod commands;
mod config;
mod confinement;
mod daemon;
mod health;
mod privileges;
mod proc;
pub mod protocol;
mod reach;
mod runtime_dir;
mod sinks;
pub mod sources;
mod terminals;
mod tmux;
#[doc(hidden)]
pub mod tui;
