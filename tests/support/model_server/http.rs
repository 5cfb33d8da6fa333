//! As much of HTTP/1.1 as agents need: one request per connection, the end of the connection ends
//! the answer.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

const MOST_HEAD: u64 = 64 * 1024;
const MOST_BODY: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// Null where it is not JSON.
    pub(super) body: Value,
}

pub(super) fn read(stream: &mut impl BufRead) -> Result<Request> {
    let mut head = stream.by_ref().take(MOST_HEAD);
    let first = line(&mut head)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        bail!("not a request: {first}");
    };
    let mut length = 0;
    let mut is_chunked = false;
    loop {
        let header = line(&mut head)?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().context("bad length")?,
            "transfer-encoding" => is_chunked = value.contains("chunked"),
            _ => {}
        }
    }
    let body = if is_chunked { read_chunks(stream)? } else { read_exactly(stream, length)? };
    Ok(Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.ends_with('\n'), "the request breaks off");
    Ok(line.trim_end().to_owned())
}

fn read_exactly(stream: &mut impl BufRead, length: u64) -> Result<Vec<u8>> {
    ensure!(length <= MOST_BODY, "a body of {length} bytes is too long");
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    ensure!(body.len() as u64 == length, "the body breaks off");
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut stream.by_ref().take(MOST_HEAD))?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16)?;
        body.append(&mut read_exactly(stream, size)?);
        line(&mut stream.by_ref().take(MOST_HEAD))?;
        ensure!(body.len() as u64 <= MOST_BODY, "the body is too long");
        if size == 0 {
            return Ok(body);
        }
    }
}

pub(super) fn reply(stream: &TcpStream, body: &Value) -> Result<()> {
    send(stream, "200 OK", body)
}

/// `status` is a number and its words.
pub(super) fn refuse(stream: &TcpStream, status: &str) -> Result<()> {
    let error = json!({ "type": "api_error", "message": "not now" });
    send(stream, status, &json!({ "type": "error", "error": error }))
}

fn send(mut stream: &TcpStream, status: &str, body: &Value) -> Result<()> {
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// An answer of server-sent events, each on the wire at once.
#[derive(Debug)]
pub(super) struct EventStream<'a>(&'a TcpStream);

impl<'a> EventStream<'a> {
    pub(super) fn start(mut stream: &'a TcpStream) -> Result<Self> {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
              Connection: close\r\n\r\n",
        )?;
        Ok(Self(stream))
    }

    /// `event` is an object with the name as its `type`.
    pub(super) fn send(&mut self, event: &Value) -> Result<()> {
        let name = event["type"].as_str().context("an event without a type")?;
        let text = format!("event: {name}\ndata: {event}\n\n");
        Ok(self.0.write_all(text.as_bytes())?)
    }
}
