//! The Anthropic Messages API, streaming.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Turn, http::EventStream, script};

pub(super) fn turn(body: &Value) -> Turn {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let is_prompt =
        |message: &Value| message["role"] == "user" && script::command(&text(message)).is_some();
    let asked = messages.iter().rposition(is_prompt);
    let later = asked.map_or(&[][..], |asked| &messages[asked..]);
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| {
        let properties = &tool["input_schema"]["properties"];
        Some((tool["name"].as_str()?.to_owned(), properties.clone()))
    });
    Turn {
        prompt: asked.map(|asked| text(&messages[asked])).unwrap_or_default(),
        tools: tools.collect(),
        tool_output: later.iter().rev().find_map(tool_output),
        answers: later.iter().filter_map(tool_output).count(),
        is_notice: later
            .iter()
            .skip(1)
            .any(|message| text(message).contains("<task-notification>")),
    }
}

fn text(message: &Value) -> String {
    if let Some(text) = message["content"].as_str() {
        return text.to_owned();
    }
    let parts = message["content"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
}

fn tool_output(message: &Value) -> Option<String> {
    let parts = message["content"].as_array()?;
    let result = parts.iter().find(|part| part["type"] == "tool_result")?;
    Some(result["content"].to_string())
}

/// The answer to a request that wants no stream: it is never the person's turn.
pub(super) fn whole_message(body: &Value) -> Value {
    let mut message = empty_message(body);
    message["content"] = json!([{ "type": "text", "text": "ok" }]);
    message["stop_reason"] = json!("end_turn");
    message
}

fn empty_message(body: &Value) -> Value {
    // Claude melts messages of one id together.
    let id = format!("msg_{}", super::boot_time_ns());
    json!({
        "id": id, "type": "message", "role": "assistant", "model": body["model"],
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": 10, "output_tokens": 1 },
    })
}

/// One message being said: blocks of text and tool calls, numbered from 0.
#[derive(Debug)]
pub(super) struct Voice<'a> {
    events: EventStream<'a>,
    block: u32,
    block_is_open: bool,
    has_called: bool,
}

impl<'a> Voice<'a> {
    pub(super) fn start(mut events: EventStream<'a>, body: &Value) -> Result<Self> {
        events.send(&json!({ "type": "message_start", "message": empty_message(body) }))?;
        Ok(Self { events, block: 0, block_is_open: false, has_called: false })
    }

    fn open(&mut self, block: &Value) -> Result<()> {
        let index = self.block;
        self.block_is_open = true;
        self.events
            .send(&json!({ "type": "content_block_start", "index": index, "content_block": block }))
    }

    fn delta(&mut self, delta: &Value) -> Result<()> {
        let index = self.block;
        self.events.send(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
    }

    fn close(&mut self) -> Result<()> {
        if self.block_is_open {
            self.events.send(&json!({ "type": "content_block_stop", "index": self.block }))?;
            self.block += 1;
            self.block_is_open = false;
        }
        Ok(())
    }
}

impl super::Voice for Voice<'_> {
    fn say(&mut self, text: &str) -> Result<()> {
        if !self.block_is_open {
            self.open(&json!({ "type": "text", "text": "" }))?;
        }
        self.delta(&json!({ "type": "text_delta", "text": text }))
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Result<()> {
        self.close()?;
        self.has_called = true;
        let id = format!("toolu_{}", super::boot_time_ns());
        self.open(&json!({ "type": "tool_use", "id": id, "name": tool, "input": {} }))?;
        self.delta(&json!({ "type": "input_json_delta", "partial_json": arguments.to_string() }))?;
        self.close()
    }

    fn ping(&mut self) -> Result<()> {
        self.events.send(&json!({ "type": "ping" }))
    }

    fn end(mut self) -> Result<()> {
        self.close()?;
        let reason = if self.has_called { "tool_use" } else { "end_turn" };
        self.events.send(&json!({
            "type": "message_delta",
            "delta": { "stop_reason": reason, "stop_sequence": null },
            "usage": { "output_tokens": 20 },
        }))?;
        self.events.send(&json!({ "type": "message_stop" }))
    }
}
