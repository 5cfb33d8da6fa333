//! From tmux's lists of panes and clients to what is shown where.

use std::collections::BTreeSet;

use ebpf_ai_monitor_core::{Owner, Pane, Pid, Sight, Viewer};

/// Fields that never hold a blank come first.
pub(super) const CLIENT_FORMAT: &str =
    "#{client_pid} #{session_id} #{client_activity} #{client_tty}";
pub(super) const PANE_FORMAT: &str =
    "#{session_id} #{window_active} #{pane_active} #{pane_id} #{pane_tty} #{session_name}";
pub(super) const SEAT_FORMAT: &str = "#{pid} #{session_id} #{session_attached} \
     #{session_activity} #{window_active} #{pane_active} #{pane_tty}";

/// Asks for both at once, where [`split_both`] can tell which is which.
pub(super) fn list_both() -> [String; 8] {
    let (clients, panes) = (format!("c {CLIENT_FORMAT}"), format!("#{{pid}} {PANE_FORMAT}"));
    ["list-clients", "-F", &clients, ";", "list-panes", "-a", "-F", &panes].map(str::to_owned)
}

/// Lines as by [`CLIENT_FORMAT`] and by [`PANE_FORMAT`]. `None` if this is not
/// the server with that pid.
pub(super) fn split_both(server: Pid, lines: &[String]) -> Option<(Vec<String>, Vec<String>)> {
    let after = |start: &str| -> Vec<String> {
        lines.iter().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
    };
    let panes = after(&format!("{} ", server.0));
    (!panes.is_empty()).then(|| (after("c "), panes))
}

/// Whether nothing moved between two answers by [`SEAT_FORMAT`]. Keys that were
/// pressed move nothing.
pub(super) fn are_same(before: &[String], after: &[String]) -> bool {
    let without_activity = |line: &String| -> Vec<String> {
        let fields = line.split(' ').enumerate().filter(|(number, _)| *number != 3);
        fields.map(|(_, field)| field.to_owned()).collect()
    };
    before.iter().map(without_activity).eq(after.iter().map(without_activity))
}

/// A client with a terminal; one in control mode has none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Client<'a> {
    pid: Pid,
    session: &'a str,
    used: u64,
    tty: &'a str,
}

impl<'a> Client<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ');
        let pid = Pid(fields.next()?.parse().ok()?);
        let (session, used) = (fields.next()?, fields.next()?.parse().ok()?);
        let tty = fields.next()?.strip_prefix("/dev/")?;
        Some(Self { pid, session, used, tty })
    }
}

/// A pane in one of the sessions that have its window.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Showing<'a> {
    session: &'a str,
    is_current: bool,
    pane: &'a str,
    tty: &'a str,
    session_name: &'a str,
}

impl<'a> Showing<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let session = fields.next()?;
        let is_current = [fields.next()?, fields.next()?] == ["1", "1"];
        let (pane, tty) = (fields.next()?, fields.next()?.strip_prefix("/dev/")?);
        Some(Self { session, is_current, pane, tty, session_name: fields.next()? })
    }
}

/// The panes of these terminals. `owner_of` finds who holds a client's terminal.
pub(super) fn read(
    terminals: &BTreeSet<String>,
    clients: &[String],
    panes: &[String],
    mut owner_of: impl FnMut(Pid, &str) -> Option<Owner>,
) -> Vec<Pane> {
    let mut clients: Vec<Client> = clients.iter().filter_map(|line| Client::parse(line)).collect();
    clients.sort_by_key(|client| std::cmp::Reverse(client.used));
    let showings: Vec<Showing> = panes
        .iter()
        .filter_map(|line| Showing::parse(line))
        .filter(|showing| terminals.contains(showing.tty))
        .collect();
    let mut found = Vec::new();
    for tty in terminals {
        // Grouped sessions share windows, and a window may be linked into others.
        let of_pane: Vec<&Showing> = showings.iter().filter(|it| it.tty == tty).collect();
        let Some(first) = of_pane.first() else { continue };
        let mut viewers = Vec::new();
        let mut session = None;
        for client in &clients {
            let in_session = of_pane.iter().filter(|showing| showing.session == client.session);
            let Some(name) = in_session.clone().map(|it| it.session_name).next() else { continue };
            session.get_or_insert(name);
            let is_current = in_session.clone().any(|showing| showing.is_current);
            viewers.push(Viewer {
                tty: client.tty.to_owned(),
                owner: owner_of(client.pid, client.tty),
                sight: if is_current { Sight::Current } else { Sight::Behind },
            });
        }
        found.push(Pane {
            tty: tty.clone(),
            name: first.pane.to_owned(),
            session: session.unwrap_or(first.session_name).to_owned(),
            viewers,
        });
    }
    found
}

/// The session in which a client of ours does least: a current pane is told
/// that it has the focus for as long as we are there, and `tmux attach` goes
/// to the session used last of those without clients. `None` if this is not
/// the server with that pid.
pub(super) fn best_seat(
    server: Pid,
    terminals: &BTreeSet<String>,
    lines: &[String],
) -> Option<String> {
    let parse = |line: &String| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [pid, session, attached, used, window, pane, tty] = fields[..] else { return None };
        let is_ours = pid.parse() == Ok(server.0);
        let shows = [window, pane] == ["1", "1"];
        let shows = shows && tty.strip_prefix("/dev/").is_some_and(|it| terminals.contains(it));
        let cost = (shows, attached == "0", used.parse::<u64>().ok()?);
        is_ours.then(|| (session.to_owned(), cost))
    };
    let mut sessions = std::collections::BTreeMap::new();
    for (session, cost) in lines.iter().filter_map(parse) {
        let known = sessions.entry(session).or_insert(cost);
        *known = cost.max(*known);
    }
    sessions.into_iter().min_by_key(|(_, cost)| *cost).map(|(session, _)| session)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    fn terminals(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn seen(pane: &Pane) -> Vec<(&str, Sight)> {
        pane.viewers.iter().map(|viewer| (viewer.tty.as_str(), viewer.sight)).collect()
    }

    #[test]
    fn each_client_sees_the_pane_as_its_own_session_shows_it() {
        let clients = lines(&["10 $0 500 /dev/pts/1", "11 $1 900 /dev/pts/2", "12 $0 950 "]);
        let panes = lines(&[
            "$0 1 1 %0 /dev/pts/7 the shop",
            "$1 0 1 %0 /dev/pts/7 grouped",
            "$1 1 1 %4 /dev/pts/8 grouped",
            "$9 1 1 %5 /dev/pts/9 away",
        ]);
        let wanted = terminals(&["pts/7", "pts/9", "pts/70"]);
        let found = read(&wanted, &clients, &panes, |_, _| None);
        assert_eq!(found.len(), 2);
        assert_eq!(seen(&found[0]), [("pts/2", Sight::Behind), ("pts/1", Sight::Current)]);
        assert_eq!((found[0].session.as_str(), found[0].name.as_str()), ("grouped", "%0"));
        assert_eq!((found[1].session.as_str(), seen(&found[1]).len()), ("away", 0));
    }

    #[test]
    fn nonsense_is_no_pane() {
        let nonsense = lines(&["", " ", "$0", "$0 1 1 %0 pts/7 a", "\u{FFFD} 1 1 %0 /dev/pts/7"]);
        assert!(read(&terminals(&["pts/7"]), &nonsense, &nonsense, |_, _| None).is_empty());
        assert_eq!(best_seat(Pid(5), &terminals(&[]), &nonsense), None);
    }

    #[test]
    fn the_seat_is_where_no_agent_is_shown_and_somebody_sits() {
        let wanted = terminals(&["pts/7"]);
        let table: [(&[&str], Option<&str>); 5] = [
            (&["5 $0 1 9 1 1 /dev/pts/7", "5 $1 0 3 1 1 /dev/pts/8"], Some("$1")),
            (&["5 $0 1 9 0 1 /dev/pts/7", "5 $1 0 3 1 1 /dev/pts/8"], Some("$0")),
            (&["5 $0 0 9 1 1 /dev/pts/1", "5 $1 0 3 1 1 /dev/pts/8"], Some("$1")),
            (&["5 $0 1 9 1 1 /dev/pts/7"], Some("$0")),
            // Another server at this path.
            (&["6 $0 1 9 1 1 /dev/pts/7"], None),
        ];
        for (found, expected) in table {
            assert_eq!(best_seat(Pid(5), &wanted, &lines(found)).as_deref(), expected);
        }
    }
}
