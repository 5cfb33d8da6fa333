//! Who is who on this machine: by its name services, whatever those are.
//!
//! A program without libraries cannot load their modules (glibc crashes in
//! them), so it goes by /etc/passwd and /etc/group alone.

#[cfg(any(test, target_feature = "crt-static"))]
#[cfg_attr(not(target_feature = "crt-static"), expect(dead_code, reason = "its parts are tested"))]
mod files;
#[cfg(not(target_feature = "crt-static"))]
mod services;

#[cfg(target_feature = "crt-static")]
pub(crate) use files::{by_name, by_uid, take_groups};
#[cfg(not(target_feature = "crt-static"))]
pub(crate) use services::{by_name, by_uid, take_groups};
