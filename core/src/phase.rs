//! The life of one session.
//!
//! ```text
//!   Unknown ──> Working <──> Waiting
//!      │           │            │
//!      └───────────┴────────────┴──> Exited, which is the end
//! ```

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Seen, but it has not yet shown what it does.
    Unknown,
    Working,
    /// It is the person's turn.
    Waiting(Reason),
    Exited,
}

/// Why it is the person's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The turn ended.
    Done,
    /// It asks whether it may do something.
    Permission,
    /// It asks something else.
    Question,
    /// It asks something before its first prompt: whether to trust a folder,
    /// who the person is.
    StartUp,
    /// The person stopped it.
    Interrupted,
    Unknown,
}
