//! The OpenAI Responses API, streaming.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Turn, http::EventStream, script};

pub(super) fn turn(body: &Value) -> Turn {
    let items = body["input"].as_array().map_or(&[][..], Vec::as_slice);
    let of_person = items.iter().rev().filter(|item| item["role"] == "user");
    let prompt = of_person.map(text).find(|text| script::command(text).is_some());
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| {
        let name = tool["name"].as_str().or(tool["type"].as_str())?;
        Some((name.to_owned(), tool["parameters"]["properties"].clone()))
    });
    Turn {
        prompt: prompt.unwrap_or_default(),
        tools: tools.collect(),
        tool_output: tool_outputs(items).next().map(|item| item["output"].to_string()),
        answers: tool_outputs(items).count(),
        is_notice: false,
    }
}

fn text(item: &Value) -> String {
    let parts = item["content"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
}

/// What tools gave since the person's last words, the newest first.
fn tool_outputs(items: &[Value]) -> impl Iterator<Item = &Value> {
    let kind = |item: &&Value| item["type"].as_str().is_some_and(|kind| kind.ends_with("_output"));
    items.iter().rev().take_while(|item| item["role"] != "user").filter(kind)
}

/// One response being made: messages and calls, in the order they are said.
#[derive(Debug)]
pub(super) struct Voice<'a> {
    events: EventStream<'a>,
    id: String,
    /// Finished items.
    output: Vec<Value>,
    /// The text of the message being said.
    message: Option<String>,
    sequence: u32,
}

impl<'a> Voice<'a> {
    pub(super) fn start(events: EventStream<'a>) -> Result<Self> {
        let id = format!("resp_{}", super::boot_time_ns());
        let mut voice = Self { events, id, output: Vec::new(), message: None, sequence: 0 };
        voice.send_response("response.created", "in_progress")?;
        Ok(voice)
    }

    fn send(&mut self, name: &str, mut event: Value) -> Result<()> {
        event["type"] = json!(name);
        event["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        self.events.send(&event)
    }

    fn send_response(&mut self, name: &str, status: &str) -> Result<()> {
        let usage = json!({
            "input_tokens": 10, "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": 15,
        });
        let usage = if status == "completed" { usage } else { Value::Null };
        let response = json!({
            "id": self.id, "object": "response", "status": status, "model": "scripted",
            "output": self.output, "usage": usage,
        });
        self.send(name, json!({ "response": response }))
    }

    fn send_item(&mut self, name: &str, item: &Value) -> Result<()> {
        let index = self.output.len();
        self.send(name, json!({ "output_index": index, "item": item }))
    }

    fn item_id(&self, kind: &str) -> String {
        format!("{kind}_{}_{}", self.id, self.output.len())
    }

    fn message_item(&self, status: &str, content: Value) -> Value {
        json!({
            "id": self.item_id("msg"), "type": "message", "role": "assistant",
            "status": status, "content": content,
        })
    }

    fn finish_message(&mut self) -> Result<()> {
        if let Some(text) = self.message.take() {
            let content = json!([{ "type": "output_text", "text": text, "annotations": [] }]);
            let item = self.message_item("completed", content);
            self.send_item("response.output_item.done", &item)?;
            self.output.push(item);
        }
        Ok(())
    }
}

impl super::Voice for Voice<'_> {
    fn say(&mut self, text: &str) -> Result<()> {
        if self.message.is_none() {
            let item = self.message_item("in_progress", json!([]));
            self.send_item("response.output_item.added", &item)?;
        }
        self.message.get_or_insert_default().push_str(text);
        let event = json!({
            "item_id": self.item_id("msg"), "output_index": self.output.len(),
            "content_index": 0, "delta": text,
        });
        self.send("response.output_text.delta", event)
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Result<()> {
        self.finish_message()?;
        let item = json!({
            "id": self.item_id("fc"), "type": "function_call", "status": "completed",
            "call_id": self.item_id("call"), "name": tool, "arguments": arguments.to_string(),
        });
        self.send_item("response.output_item.added", &item)?;
        self.send_item("response.output_item.done", &item)?;
        self.output.push(item);
        Ok(())
    }

    fn ping(&mut self) -> Result<()> {
        self.send_response("response.in_progress", "in_progress")
    }

    fn end(mut self) -> Result<()> {
        self.finish_message()?;
        self.send_response("response.completed", "completed")
    }
}
