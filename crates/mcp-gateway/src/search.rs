//! Tool search: three tools in place of a long list.
//!
//! A model that is given hundreds of tools picks worse and pays for all of them. With `tool_search` it gets one tool that
//! searches and two that call. These are split by what a tool says of itself, so that an approval of reading does not cover
//! writing. What is decided and written down concerns the tool that is called, never the one that calls it.

use std::collections::{HashMap, HashSet};

use mcp_pooled_tools::{Aggregator, Client as _, Reply, Request, RequestOptions, ToolTarget};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    edge::{Edge, Rules},
    guard::{Caller, Failure, refused},
    members::Members,
    message,
};

pub(crate) const SEARCH: &str = "search_tools";
const CALL_READ: &str = "call_read";
const CALL_WRITE: &str = "call_write";

/// The list that clients get.
pub(crate) fn list() -> Reply {
    let called = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "The name of the tool, as search_tools returns it" },
            "arguments": { "type": "object", "description": "Its arguments, as its inputSchema has them" },
        },
        "required": ["name"],
    });
    Reply::typed(&json!({ "tools": [
        {
            "name": SEARCH,
            "description": "Finds tools by what they do. Returns their names, descriptions and input schemas.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "query": { "type": "string", "description": "What the tool is to do, in a few words" },
                    "limit": { "type": "integer", "minimum": 1, "maximum": MAX_FOUND },
                },
                "required": ["query"],
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
        {
            "name": CALL_READ,
            "description": "Calls a tool that only reads: one whose annotations say readOnlyHint.",
            "inputSchema": called,
            "annotations": { "readOnlyHint": true },
        },
        {
            "name": CALL_WRITE,
            "description": "Calls any other tool, which may change something.",
            "inputSchema": called,
            "annotations": { "readOnlyHint": false, "destructiveHint": true },
        },
    ]}))
}

/// The call of the tool that `request` names in its arguments, if it is one of ours, and whether it may only read.
pub(crate) fn unwrapped(request: &Request) -> Option<Result<(Request, bool), Failure>> {
    #[derive(Deserialize)]
    struct Arguments {
        name: String,
        arguments: Option<Box<RawValue>>,
    }
    let only_reads = match request.tool()? {
        CALL_READ => true,
        CALL_WRITE => false,
        _ => return None,
    };
    let mut params = request.params().map(Members::of).unwrap_or_default();
    let arguments = params.get("arguments").map_or("{}", RawValue::get);
    let arguments: Arguments = match serde_json::from_str(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return Some(Err(invalid(format!("arguments: {error}")))),
    };
    params.set("name", message::json(&arguments.name));
    let empty = || message::json(&json!({}));
    params.set("arguments", arguments.arguments.unwrap_or_else(empty));
    let inner = Request::from_raw("tools/call", Some(&*params.written()));
    Some(match inner {
        Ok(mut inner) => {
            *inner.meta_mut() = request.meta().clone();
            Ok((inner, only_reads))
        }
        Err(error) => Err(Failure::Failed(error)),
    })
}

/// Refuses to have a tool called by `call_read` that may change something.
pub(crate) fn check_reads(target: &ToolTarget) -> Result<(), rmcp::ErrorData> {
    let definition = target.definition.as_deref().map(Members::of);
    let annotations = definition.as_ref().and_then(|tool| tool.get("annotations"));
    let reads = annotations.map(Members::of);
    let reads =
        reads.and_then(|annotations| Some(annotations.get("readOnlyHint")?.get() == "true"));
    if reads == Some(true) {
        return Ok(());
    }
    let tool = target.tool.escape_debug();
    let message = format!("tool `{tool}` does not say that it only reads");
    Err(refused(message, "call it by call_write"))
}

impl Edge {
    /// Answers a search among the tools that the caller may use.
    pub(crate) async fn search(
        &self,
        rules: &Rules,
        caller: Caller<'_>,
        view: &Aggregator,
        request: &Request,
    ) -> Result<Reply, Failure> {
        #[derive(Deserialize)]
        struct Arguments {
            query: String,
            limit: Option<usize>,
        }
        let params = request.params().map(Members::of).unwrap_or_default();
        let arguments = params.get("arguments").map_or("{}", RawValue::get);
        let Arguments { query, limit } = serde_json::from_str(arguments)
            .map_err(|error| invalid(format!("arguments of {SEARCH}: {error}")))?;
        // Servers that are not known are waited for, as by a listing.
        let listing = Request::new("tools/list");
        view.send(listing, RequestOptions::new()).await?;
        let mut known: Vec<_> = view.known_tools().into_iter().collect();
        known.retain(|(_, target)| self.shows(rules, caller, target));
        self.sync_pins().await;
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        let limit = limit.unwrap_or(FOUND).clamp(1, MAX_FOUND);
        let found = tokio::task::spawn_blocking(move || found(&query, &known, limit)).await;
        // It only fails if it panics.
        let found = json!({ "tools": found.unwrap_or_default() });
        Ok(Reply::typed(&json!({
            "content": [{ "type": "text", "text": found.to_string() }],
            "structuredContent": found,
        })))
    }
}

/// The definitions of the best tools, under their exposed names.
fn found(query: &str, known: &[(String, ToolTarget)], limit: usize) -> Vec<Value> {
    let definitions: Vec<Value> = known
        .iter()
        .map(|(name, target)| {
            let definition = target.definition.as_deref().map_or("{}", RawValue::get);
            let mut definition: Value = serde_json::from_str(definition).unwrap_or_default();
            definition["name"] = name.as_str().into();
            definition
        })
        .collect();
    let best = rank_tools(query, &definitions, limit);
    best.into_iter()
        .map(|index| definitions[index].clone())
        .collect()
}

/// The indices of the definitions that have a word of the query in their name, title, description or parameters, the best
/// first. Words are compared without case and plural, and ranked by Okapi BM25. Of a long query the first 32 words count.
#[must_use]
pub fn rank_tools(query: &str, definitions: &[Value], limit: usize) -> Vec<usize> {
    let documents: Vec<_> = definitions.iter().map(words_of).collect();
    best(&words_of_query(query), &documents, limit)
}

/// The first words of a query, each once: the time of a search grows with them.
fn words_of_query(query: &str) -> Vec<String> {
    let first: String = query.chars().take(MAX_QUERY).collect();
    let mut all = words(&first);
    let mut seen = HashSet::new();
    all.retain(|word| seen.insert(word.clone()));
    all.truncate(MAX_WORDS);
    all
}

/// The words of a tool: its name counts more than its description and parameters.
fn words_of(tool: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(words).unwrap_or_default();
    let name = text(&tool["name"]);
    let mut all: Vec<_> = (0..NAME_WEIGHT).flat_map(|_| name.clone()).collect();
    all.extend(text(&tool["title"]));
    all.extend(text(&tool["description"]));
    for (name, schema) in tool["inputSchema"]["properties"]
        .as_object()
        .into_iter()
        .flatten()
    {
        all.extend(words(name));
        all.extend(text(&schema["description"]));
    }
    all
}

/// In lower case, without signs, and split where a name changes its case.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split(|c: char| !c.is_alphanumeric()) {
        let mut word = String::new();
        let mut was_lower = false;
        for c in part.chars() {
            if c.is_uppercase() && was_lower {
                words.push(std::mem::take(&mut word));
            }
            was_lower = c.is_lowercase();
            word.extend(c.to_lowercase());
        }
        words.push(word);
    }
    // Enough of an ending for English: `files` finds `file`.
    let stem = |word: String| match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    };
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(stem)
        .collect()
}

/// Documents that hold a word of the query, the best first, by Okapi BM25 (Robertson and Zaragoza, 2009).
fn best(query: &[String], documents: &[Vec<String>], limit: usize) -> Vec<usize> {
    let number = documents.len() as f64;
    let length: usize = documents.iter().map(Vec::len).sum();
    let average = (length as f64 / number.max(1.0)).max(1.0);
    let counts: Vec<HashMap<&str, f64>> = documents
        .iter()
        .map(|document| {
            let mut counts = HashMap::new();
            for word in document {
                *counts.entry(word.as_str()).or_default() += 1.0;
            }
            counts
        })
        .collect();
    let mut scores = vec![0.0; documents.len()];
    for word in query {
        let holding = counts
            .iter()
            .filter(|counts| counts.contains_key(word.as_str()));
        let holding = holding.count() as f64;
        let rarity = (1.0 + (number - holding + 0.5) / (holding + 0.5)).ln();
        for ((score, counts), document) in scores.iter_mut().zip(&counts).zip(documents) {
            let Some(count) = counts.get(word.as_str()) else {
                continue;
            };
            let norm = K1 * (1.0 - B + B * document.len() as f64 / average);
            *score += rarity * count * (K1 + 1.0) / (count + norm);
        }
    }
    let mut ranked: Vec<usize> = (0..documents.len())
        .filter(|index| scores[*index] > 0.0)
        .collect();
    ranked.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
    ranked.truncate(limit);
    ranked
}

fn invalid(message: String) -> Failure {
    Failure::Refused(refused(message, "see the tool's inputSchema"))
}

/// Tools that a search returns, unless it asks for more.
const FOUND: usize = 8;
const MAX_FOUND: usize = 50;
/// Characters and words of a query that count.
const MAX_QUERY: usize = 2_048;
const MAX_WORDS: usize = 32;
/// How often the words of a name count.
const NAME_WEIGHT: usize = 3;
/// The usual constants of BM25.
const K1: f64 = 1.2;
const B: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_query_the_first_words_count() {
        let many: Vec<_> = (0..100_000).map(|number| format!("w{number}")).collect();
        let query = format!("time {} {}", "files ".repeat(100), many.join(" "));
        let words = words_of_query(&query);
        assert_eq!(words.len(), MAX_WORDS);
        assert_eq!(words[..3], ["time", "file", "w0"]);
        let tools = [json!({"name": "clock"}), json!({"name": "read_file"})];
        assert_eq!(rank_tools(&query, &tools, 8), [1]);
        assert!(words_of_query(&"x".repeat(100_000))[0].len() <= MAX_QUERY);
    }

    #[test]
    fn the_tool_that_is_named_comes_before_those_that_mention_it() {
        let tools = [
            json!({"name": "git__git_status", "description": "Shows the working tree. Ignores time zones."}),
            json!({"name": "time__getCurrentTime", "description": "Returns the present moment",
                "inputSchema": {"properties": {"timezone": {"description": "IANA name"}}}}),
            json!({"name": "files__read_file", "description": "Reads"}),
            json!({"name": "files__write_file", "description": "Writes a file and reads nothing"}),
        ];
        let documents: Vec<_> = tools.iter().map(words_of).collect();
        let search = |query: &str| best(&words(query), &documents, 8);
        assert_eq!(search("current time"), [1, 0]);
        assert_eq!(search("READ files")[0], 2);
        assert_eq!(search("timezone"), [1]);
        assert!(
            search("nothing like it, 東京").contains(&3),
            "it mentions nothing"
        );
        assert!(search("").is_empty());
        assert_eq!(best(&words("file"), &documents, 1).len(), 1);
    }
}
