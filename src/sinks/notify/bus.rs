//! The desktop's notification daemon over the session bus, as the Desktop
//! Notifications Specification 1.2 has it. Each call has a time-out; a bus or a
//! daemon that goes is told as news.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use ebpf_ai_monitor_core::{Alert, Urgency};
use zbus::blocking::{Connection, MessageIterator, connection};
use zbus::message::Type;
use zbus::zvariant::Value;

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";
/// The slowest daemon that was measured answers within 76 ms.
const PATIENCE: Duration = Duration::from_secs(3);
const APP: &str = "AI Monitor";
const DESKTOP_ENTRY: &str = "ebpf-ai-monitor";
/// What a click on the notification itself is called.
const DEFAULT_ACTION: &str = "default";
/// Reasons of `NotificationClosed`.
const DISMISSED: u32 = 2;

/// What comes from the bus. `bus` tells which one: news of an earlier one are
/// of no use.
#[derive(Debug)]
pub(super) struct BusNews {
    pub(super) bus: u64,
    pub(super) item: BusItem,
}

#[derive(Debug)]
pub(super) enum BusItem {
    Pressed {
        id: u32,
    },
    Closed {
        id: u32,
        by_person: bool,
    },
    /// Another notification daemon, or none.
    Owned(bool),
    Lost,
}

#[derive(Debug)]
pub(super) struct Bus {
    connection: Connection,
    /// Whether there is a notification daemon.
    pub(super) is_owned: bool,
    takes_markup: bool,
}

impl Bus {
    pub(super) fn connect<N: From<BusNews> + Send + 'static>(
        runtime_dir: &Path,
        number: u64,
        news: Sender<N>,
    ) -> anyhow::Result<Self> {
        let connection = open(runtime_dir)?;
        // Before the first question: what changes after its answer comes as a signal.
        let messages = MessageIterator::from(&connection);
        for rule in [
            format!("type='signal',sender='{NAME}',interface='{NAME}'"),
            format!("type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{NAME}'"),
        ] {
            connection
                .call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "AddMatch", &rule)
                .context("the session bus refuses to tell of signals")?;
        }
        thread::Builder::new().name("notify-bus".into()).spawn(move || {
            let told = |item| news.send(N::from(BusNews { bus: number, item })).is_ok();
            for message in messages.map_while(Result::ok) {
                if read(&message).is_some_and(|item| !told(item)) {
                    return;
                }
            }
            told(BusItem::Lost);
        })?;
        let mut bus = Self { connection, is_owned: false, takes_markup: false };
        // Never a call to the name itself: it would start whichever daemon's file wins.
        let owned =
            bus.connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "NameHasOwner", &NAME)?;
        bus.set_owned(owned.body().deserialize()?);
        Ok(bus)
    }

    pub(super) fn set_owned(&mut self, is_owned: bool) {
        self.is_owned = is_owned;
        let ask = || -> anyhow::Result<bool> {
            let reply = self.call("GetCapabilities", &())?;
            let capabilities: Vec<String> = reply.body().deserialize()?;
            Ok(capabilities.iter().any(|it| it == "body-markup"))
        };
        // To be read as plain text by one that reads markup is the worse mistake.
        self.takes_markup = is_owned && ask().unwrap_or(true);
    }

    /// Gives the notification's number.
    pub(super) fn notify(
        &self,
        alert: &Alert,
        replaces: Option<u32>,
        is_loud: bool,
    ) -> anyhow::Result<u32> {
        let mut hints: HashMap<&str, Value<'_>> = HashMap::new();
        let urgency: u8 = match alert.urgency {
            Urgency::Low => 0,
            Urgency::Normal => 1,
            Urgency::Critical => 2,
        };
        hints.insert("urgency", urgency.into());
        hints.insert("category", "im.received".into());
        hints.insert("desktop-entry", DESKTOP_ENTRY.into());
        hints.insert("sender-pid", i64::from(std::process::id()).into());
        match &alert.sound {
            Some(sound) if is_loud => {
                hints.insert("sound-name", sound.as_str().into());
            }
            _ => {
                hints.insert("suppress-sound", true.into());
            }
        }
        let body = if self.takes_markup { escape(&alert.body) } else { alert.body.clone() };
        let timeout = i32::try_from(alert.timeout.as_millis()).unwrap_or(i32::MAX);
        let actions = [DEFAULT_ACTION, "Go there"];
        let (replaces, icon) = (replaces.unwrap_or_default(), "");
        let words = (APP, replaces, icon, &alert.summary, body, &actions[..], hints, timeout);
        Ok(self.call("Notify", &words)?.body().deserialize()?)
    }

    pub(super) fn close(&self, id: u32) -> anyhow::Result<()> {
        self.call("CloseNotification", &id).map(drop)
    }

    fn call<B>(&self, method: &str, words: &B) -> anyhow::Result<zbus::Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        self.connection
            .call_method(Some(NAME), PATH, Some(NAME), method, words)
            .with_context(|| format!("the notification daemon does not take {method}"))
    }
}

fn open(runtime_dir: &Path) -> anyhow::Result<Connection> {
    let socket = runtime_dir.join("bus");
    anyhow::ensure!(socket.exists(), "there is no {}", socket.display());
    let address = format!("unix:path={}", socket.display());
    let builder = connection::Builder::address(address.as_str())?.method_timeout(PATIENCE);
    builder.build().context("cannot connect to the session bus")
}

/// A notification daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// As it calls itself, or as the bus does.
    pub(crate) name: String,
    /// `None`: it does not say.
    pub(crate) version: Option<String>,
}

/// The one that is on the bus; none is started. May wait for a bus that hangs.
pub(crate) fn find_server(runtime_dir: &Path) -> anyhow::Result<Option<Server>> {
    let connection = open(runtime_dir)?;
    let owner = connection.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "GetNameOwner", &NAME);
    let owner: String = match owner {
        Ok(reply) => reply.body().deserialize()?,
        Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".NameHasNoOwner") => {
            return Ok(None);
        }
        Err(error) => return Err(error).context("the session bus does not answer"),
    };
    // By its unique name, which starts nobody if it goes meanwhile.
    let told =
        connection.call_method(Some(owner.as_str()), PATH, Some(NAME), "GetServerInformation", &());
    let told = told.and_then(|reply| reply.body().deserialize::<[String; 4]>());
    Ok(Some(match told {
        Ok([name, _, version, _]) => Server { name, version: Some(version) },
        Err(_) => Server { name: owner, version: None },
    }))
}

fn read(message: &zbus::Message) -> Option<BusItem> {
    if message.message_type() != Type::Signal {
        return None;
    }
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "ActionInvoked" => {
            let (id, action): (u32, String) = body.deserialize().ok()?;
            (action == DEFAULT_ACTION).then_some(BusItem::Pressed { id })
        }
        "NotificationClosed" => {
            let (id, reason): (u32, u32) = body.deserialize().ok()?;
            Some(BusItem::Closed { id, by_person: reason == DISMISSED })
        }
        "NameOwnerChanged" => {
            let (_, _, owner): (String, String, String) = body.deserialize().ok()?;
            Some(BusItem::Owned(!owner.is_empty()))
        }
        _ => None,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_is_shown_as_it_is_written() {
        assert_eq!(super::escape("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }
}
