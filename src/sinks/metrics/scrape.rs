//! Answers whoever asks for the numbers by HTTP. One at a time, and only a
//! `GET /metrics`: for that no web server is needed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tracing::debug;

/// For a question and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// No question of a scraper's is longer.
const LONGEST_QUESTION: usize = 8 * 1024;
/// Of the text exposition format 0.0.4, which the OpenMetrics text also is.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn serve(
    address: SocketAddr,
    text: impl Fn() -> Option<String> + Send + 'static,
) -> anyhow::Result<()> {
    ensure!(address.ip().is_loopback(), "{address} is no loopback address");
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    thread::Builder::new().name("scrape".into()).spawn(move || {
        for stream in listener.incoming() {
            let answered = stream.map_err(Into::into).and_then(|stream| answer(stream, &text));
            if let Err(error) = answered {
                debug!("metrics: {error:#}");
                // Out of descriptors, perhaps: it would fail again at once.
                thread::sleep(Duration::from_millis(100));
            }
        }
    })?;
    Ok(())
}

fn answer(mut stream: TcpStream, text: &impl Fn() -> Option<String>) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let question = read_head(&mut stream)?;
    let path = question.strip_prefix("GET ").and_then(|rest| rest.split([' ', '?']).next());
    let (status, body) = match path {
        Some("/metrics") => ("200 OK", text().context("the monitor is ending")?),
        Some(_) => ("404 Not Found", "The numbers are at /metrics\n".to_owned()),
        None => ("405 Method Not Allowed", "Only GET\n".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {TYPE}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// Up to the empty line.
fn read_head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece)?;
        head.extend(&piece[..read]);
        ensure!(read > 0 && head.len() <= LONGEST_QUESTION, "no question");
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
