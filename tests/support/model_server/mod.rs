//! A scripted model on loopback: it speaks the agents' model APIs, and the person's prompt says
//! what it answers (`script`). One thread per connection, all of them ended on drop.

mod anthropic;
mod http;
mod responses;
mod script;

use std::{
    collections::BTreeMap,
    io::BufReader,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::net::RecvFlags;
use serde_json::{Value, json};

use self::{
    http::{EventStream, Request},
    script::Act,
};
use super::boot_time_ns;

const MOST_CONNECTIONS: usize = 64;
/// How often a silent model looks whether the agent still listens.
const PATIENCE_PERIOD: Duration = Duration::from_millis(50);
/// How an outage shows, in turn.
const REFUSALS: [Option<&str>; 4] = [
    Some("500 Internal Server Error"),
    None,
    Some("529 Overloaded"),
    Some("503 Service Unavailable"),
];
/// A client that neither sends nor takes bytes for so long has lost its thread.
const SOCKET_BOUND: Duration = Duration::from_secs(60);

/// The listening server. It belongs to the network namespace of the thread that starts it.
#[derive(Debug)]
pub struct ModelServer {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stopping: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopped: bool,
    connections: Vec<(TcpStream, JoinHandle<()>)>,
    journal: Vec<(u64, String)>,
    outage: Option<Outage>,
    is_busy: bool,
}

/// A time when the model cannot be reached.
#[derive(Debug)]
struct Outage {
    began_ns: u64,
    refused: usize,
}

impl ModelServer {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.context("cannot listen for the agent")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (incoming, accepting) = (listener.try_clone()?, Arc::clone(&shared));
        let acceptor = thread::spawn(move || accepting.accept(&incoming));
        Ok(Self { listener, address, shared, acceptor: Some(acceptor) })
    }

    /// The base address for agents, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether a turn is under way, seen from the model: from the first request to the words that
    /// call no tool, or until the agent breaks off.
    pub fn is_busy(&self) -> impl Fn() -> bool + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.lock().is_busy
    }

    /// What was asked and answered, with times: for the report of a failure.
    pub fn journal(&self) -> Vec<(u64, String)> {
        self.shared.lock().journal.clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.stopping.notify_all();
        // Wakes the accepting thread; a connection from here could not reach the namespace.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let connections = std::mem::take(&mut self.shared.lock().connections);
        for (stream, thread) in connections {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: String) {
        self.lock().journal.push((boot_time_ns(), line));
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            let mut state = self.lock();
            state.connections.retain(|(_, thread)| !thread.is_finished());
            if state.is_stopped {
                break;
            }
            let Ok(closer) = stream.try_clone() else { continue };
            if state.connections.len() < MOST_CONNECTIONS {
                let shared = Arc::clone(&self);
                let serve = move || {
                    if let Err(error) = shared.serve(&stream) {
                        shared.note(format!("broken off: {error:#}"));
                    }
                    // The other handle, kept for the drop, would hold the connection open.
                    let _ = stream.shutdown(Shutdown::Both);
                };
                state.connections.push((closer, thread::spawn(serve)));
            }
        }
    }

    /// Answers one request; every answer closes its connection.
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOCKET_BOUND))?;
        stream.set_write_timeout(Some(SOCKET_BOUND))?;
        let request = http::read(&mut BufReader::new(stream))?;
        self.note(format!("{} {}", request.method, request.path));
        match (request.method.as_str(), request.path.rsplit('/').next()) {
            ("POST", Some("messages")) if !request.wants_stream() => {
                http::reply(stream, &anthropic::whole_message(&request.body))
            }
            ("POST", Some("messages")) => {
                let turn = anthropic::turn(&request.body);
                let Some(events) = self.open(stream, &turn)? else { return Ok(()) };
                self.perform(&turn, stream, anthropic::Voice::start(events, &request.body)?)
            }
            ("POST", Some("responses")) => {
                let turn = responses::turn(&request.body);
                let Some(events) = self.open(stream, &turn)? else { return Ok(()) };
                self.perform(&turn, stream, responses::Voice::start(events)?)
            }
            ("POST", Some("count_tokens")) => http::reply(stream, &json!({ "input_tokens": 1000 })),
            ("GET", Some("models")) => {
                http::reply(stream, &json!({ "object": "list", "data": [], "models": [] }))
            }
            _ => http::reply(stream, &json!({})),
        }
    }

    /// Begins an answer, or refuses in one of the ways that real services have.
    fn open<'a>(&self, stream: &'a TcpStream, turn: &Turn) -> Result<Option<EventStream<'a>>> {
        let Some(number) = self.refusals(turn) else { return EventStream::start(stream).map(Some) };
        let way = REFUSALS[number % REFUSALS.len()];
        self.note(format!("refused by {way:?}: {turn}"));
        self.lock().is_busy |= !turn.tools.is_empty();
        // Without an answer the connection just ends.
        if let Some(status) = way {
            http::refuse(stream, status)?;
        }
        Ok(None)
    }

    /// How often the model refused before, if it is to refuse now. One outage in a life: the first
    /// request for it begins it.
    fn refusals(&self, turn: &Turn) -> Option<usize> {
        let Some(script::Command::Down(seconds)) = script::command(&turn.prompt) else {
            return None;
        };
        let mut state = self.lock();
        let now_ns = boot_time_ns();
        let outage = state.outage.get_or_insert(Outage { began_ns: now_ns, refused: 0 });
        outage.refused += 1;
        let is_over = now_ns - outage.began_ns >= seconds * 1_000_000_000;
        (!is_over).then(|| outage.refused - 1)
    }

    fn perform(&self, turn: &Turn, stream: &TcpStream, voice: impl Voice) -> Result<()> {
        self.note(format!("asked: {turn}"));
        let acts = script::acts(turn);
        let calls = acts.iter().any(|act| matches!(act, Act::Call { .. }));
        let is_turn = !turn.tools.is_empty();
        self.lock().is_busy |= is_turn;
        let said = self.speak(acts, stream, voice);
        self.lock().is_busy &= !is_turn || (calls && said.is_ok());
        said?;
        self.note(format!("answered: {turn}"));
        Ok(())
    }

    fn speak(&self, acts: Vec<Act>, stream: &TcpStream, mut voice: impl Voice) -> Result<()> {
        for act in acts {
            match act {
                Act::Say(text) => voice.say(&text)?,
                Act::Call { tool, arguments } => voice.call(&tool, &arguments)?,
                Act::Pause(duration) => self.pause(stream, duration)?,
                Act::Ping => voice.ping()?,
            }
        }
        voice.end()
    }

    /// Sleeps, but not past the end of the server or of the agent's patience.
    fn pause(&self, stream: &TcpStream, mut left: Duration) -> Result<()> {
        let on = |state: &mut State| !state.is_stopped;
        while !left.is_zero() {
            let step = left.min(PATIENCE_PERIOD);
            left -= step;
            let waited = self.stopping.wait_timeout_while(self.lock(), step, on);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            ensure!(!state.is_stopped, "the test is over");
            drop(state);
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let has_left = matches!(rustix::net::recv(stream, &mut [0; 1], flags), Ok((_, 0)));
            ensure!(!has_left, "the agent hung up");
        }
        Ok(())
    }
}

/// One request of an agent for the model's next words, whatever the API.
#[derive(Debug, Default)]
struct Turn {
    /// What the person last asked.
    prompt: String,
    /// The tools offered, with the properties of their arguments. An auxiliary request (for a
    /// title, say) offers none.
    tools: BTreeMap<String, Value>,
    /// What the tool gave that the model had called just before.
    tool_output: Option<String>,
    /// How many tools have answered since the prompt.
    answers: usize,
    /// The agent speaks by itself: something in the background came to its end.
    is_notice: bool,
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let step = match (self.is_notice, self.answers) {
            (true, _) => ", a notice".to_owned(),
            (false, 0) => String::new(),
            (false, answers) => format!(", after {answers} tools"),
        };
        let tools = self.tools.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        write!(f, "{:?}{step} (tools: {tools})", script::command(&self.prompt))
    }
}

/// How one API says things in a stream of events.
trait Voice {
    fn say(&mut self, text: &str) -> Result<()>;
    fn call(&mut self, tool: &str, arguments: &Value) -> Result<()>;
    /// A sign of life without content.
    fn ping(&mut self) -> Result<()>;
    fn end(self) -> Result<()>;
}

impl Request {
    fn wants_stream(&self) -> bool {
        self.body["stream"] == json!(true)
    }
}
