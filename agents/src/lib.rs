//! What is known of each agent. All of it is data: one TOML file for each that
//! this program knows, and the files of the person who watches, which change
//! those or add to them. How the data is used is the core's.
#![forbid(unsafe_code)]

mod document;
mod error;
mod files;
mod keys;
mod transcripts;

use std::path::{Path, PathBuf};

use ebpf_ai_monitor_core::{
    DensityRule, Greets, NotSessions, Profile, Profiles, PromptSign, Silence, Titles, Waits,
};

use crate::document::{Read, Value};
pub use crate::error::ProfileError;

/// What holds for each agent whose file does not say otherwise.
const GENERIC: &str = include_str!("../generic.toml");

const GENERIC_NAME: &str = "generic";

const BUILTIN: [&str; 7] = [
    include_str!("../claude.toml"),
    include_str!("../codex.toml"),
    include_str!("../gemini.toml"),
    include_str!("../qwen.toml"),
    include_str!("../opencode.toml"),
    include_str!("../aider.toml"),
    include_str!("../copilot.toml"),
];

/// Of one profile: the kernel side has room for some sixty in all.
const MOST_PROGRAMS: usize = 16;

/// The agents that are known. No two have one name or one program.
#[derive(Clone, Debug)]
pub struct Agents {
    /// For a program of which nothing but the name is known.
    generic: Profile,
    known: Vec<Agent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub profile: Profile,
    pub origin: Origin,
}

/// Where a profile comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    /// Built in, and changed by this file.
    Changed(PathBuf),
    File(PathBuf),
}

impl Origin {
    /// The person's own file, if one tells of this agent.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::Changed(path) | Self::File(path) => Some(path),
        }
    }
}

impl Agents {
    /// What this program itself knows.
    pub fn builtin() -> Self {
        let mut agents = Self { generic: blank(), known: Vec::new() };
        let read = document::parse(GENERIC).and_then(|file| keys::apply(file, &mut agents.generic));
        read.expect("each test reads this text");
        for content in BUILTIN {
            agents.add(content, None).expect("each test reads these texts");
        }
        agents
    }

    /// The same with the `*.toml` files of a directory on top, in the order of
    /// their names. A file that is wrong changes nothing: there is an error for
    /// it, and the others count. There need not be such a directory.
    pub fn with_directory(directory: &Path) -> (Self, Vec<ProfileError>) {
        let mut agents = Self::builtin();
        let (paths, mut errors) = files::list(directory);
        for path in paths {
            let added = files::read(&path).and_then(|content| {
                let added = agents.add(&content, Some(&path));
                added.map_err(|problem| ProfileError::at(&path, &content, problem))
            });
            errors.extend(added.err());
        }
        (agents, errors)
    }

    /// The profiles of the agents called `names`, in this order; a generic one
    /// for each that is not known.
    pub fn profiles(&self, names: &[String]) -> Profiles {
        let mut profiles: Vec<Profile> = Vec::new();
        for name in names {
            if name.is_empty() || profiles.iter().any(|profile| profile.name == *name) {
                continue;
            }
            let known = self.known.iter().find(|agent| agent.profile.name == *name);
            profiles.push(known.map_or_else(|| self.generic(name), |it| it.profile.clone()));
        }
        Profiles::new(profiles)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|agent| agent.profile.name.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.known.iter()
    }

    /// Takes a file, or nothing of it. `path` is where it lies if the program
    /// did not bring it.
    fn add(&mut self, content: &str, path: Option<&Path>) -> Read<()> {
        let mut file = document::parse(content)?;
        let given_name = file.need("name")?;
        let name = given_name.base_name()?;
        if name == GENERIC_NAME {
            return Err(given_name.problem("stands for every program without a file"));
        }
        let at = self.known.iter().position(|agent| agent.profile.name == name);
        let before = at.map(|at| &self.known[at]);
        if let Some(other) = before.and_then(|agent| agent.origin.path()) {
            let other = other.display();
            return Err(given_name.problem(format!("{name:?} was told of by {other} already")));
        }
        let origin = match (before, path) {
            (_, None) => Origin::BuiltIn,
            (None, Some(path)) => Origin::File(path.to_owned()),
            (Some(_), Some(path)) => Origin::Changed(path.to_owned()),
        };
        let mut profile = before.map_or_else(|| self.generic(&name), |it| it.profile.clone());
        match file.take("programs") {
            Some(value) => profile.programs = self.programs(value, &name)?,
            None if before.is_none() => self.check_free(&given_name, &name, &name)?,
            None => {}
        }
        keys::apply(file, &mut profile)?;
        let agent = Agent { profile, origin };
        match at {
            Some(at) => self.known[at] = agent,
            None => self.known.push(agent),
        }
        Ok(())
    }

    fn programs(&self, value: Value<'_>, agent: &str) -> Read<Vec<String>> {
        let wrong_count = value.problem(format!("must be 1 to {MOST_PROGRAMS} names"));
        let given = value.list()?;
        if !(1..=MOST_PROGRAMS).contains(&given.len()) {
            return Err(wrong_count);
        }
        let program = |value: &Value<'_>| {
            let program = value.base_name()?;
            self.check_free(value, &program, agent)?;
            Ok(program)
        };
        given.iter().map(program).collect()
    }

    /// A program is one agent's only: else it would depend on an order whose
    /// session it is.
    fn check_free(&self, value: &Value<'_>, program: &str, agent: &str) -> Read<()> {
        let is_others = |other: &&Agent| {
            other.profile.name != agent && other.profile.programs.iter().any(|it| it == program)
        };
        let Some(other) = self.known.iter().find(is_others) else { return Ok(()) };
        let owner = match other.origin.path() {
            None => String::new(),
            Some(path) => format!(" of {}", path.display()),
        };
        let name = &other.profile.name;
        Err(value.problem(format!("{program:?} is a program of the agent {name:?}{owner} already")))
    }

    fn generic(&self, name: &str) -> Profile {
        Profile {
            name: name.to_owned(),
            display_name: name.to_owned(),
            programs: vec![name.to_owned()],
            ..self.generic.clone()
        }
    }
}

/// What `generic.toml` is written on. It says all that is said here, but for
/// the rule of density, which is the core's.
fn blank() -> Profile {
    Profile {
        name: String::new(),
        display_name: String::new(),
        badge_source: String::new(),
        programs: Vec::new(),
        packages: Vec::new(),
        not_sessions: NotSessions::default(),
        titles: Titles::default(),
        waits: Waits::Any,
        silence: Silence::SaysNothing,
        density: DensityRule::default(),
        progress_lapses_after: None,
        prompt: PromptSign::None,
        greets: Greets::Nothing,
        transcripts: None,
        notes: None,
    }
}
