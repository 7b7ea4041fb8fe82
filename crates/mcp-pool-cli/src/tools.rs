//! The tools of the servers, by the names that people use: `server.tool`.

mod policy;

use std::{collections::BTreeMap, path::PathBuf};

use mcp_pooled_tools::{Aggregator, Client, Error, Request, RequestOptions, ToolTarget};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{exit::Exit, failure::Failure, folders::Folders, nearest};

pub(crate) use policy::{callable, exposes, is_allowed_for_any};

/// Tools, and the servers whose tools are not among them.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) tools: Vec<Tool>,
    pub(crate) missing: Vec<Missing>,
}

/// One tool.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) server: String,
    /// What its server calls it.
    pub(crate) name: String,
    /// What a call names: `server__tool`.
    pub(crate) exposed: String,
    pub(crate) definition: Value,
    /// The definition under the exposed name.
    pub(crate) raw: Box<RawValue>,
}

/// A server that cannot be listed.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Missing {
    pub(crate) server: String,
    pub(crate) error: String,
    /// What kind of error it is, as [`ErrorKind::as_str`](mcp_pooled_tools::ErrorKind::as_str) names it.
    #[serde(default, skip_serializing)]
    kind: String,
    /// The last lines of its standard error.
    #[serde(skip)]
    stderr: Vec<String>,
}

/// The document of a listing.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    tools: Vec<&'a RawValue>,
    missing: &'a [Missing],
}

/// What a tool does to the world, as its annotations say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
    Destroys,
    /// It says nothing. By the protocol it may destroy.
    Unknown,
}

/// A page of any list.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: BTreeMap<String, Value>,
    #[serde(flatten)]
    members: BTreeMap<String, Value>,
}

impl Tools {
    /// The tools of servers in this process.
    pub(crate) async fn known_to(aggregator: &Aggregator) -> Result<Self, Failure> {
        let listed = aggregator.list_all_tools().await?;
        let mut known = aggregator.known_tools();
        let tools = listed.items.iter().filter_map(|tool| {
            let target = known.remove(tool.name.as_ref())?;
            let raw = target.definition?;
            let tool = Tool {
                server: target.server.to_string(),
                name: target.tool,
                exposed: tool.name.to_string(),
                definition: serde_json::from_str(raw.get()).ok()?,
                raw: named(&raw, &tool.name)?,
            };
            Some(tool)
        });
        let missing = listed.missing.iter();
        Ok(Self {
            tools: tools.collect(),
            missing: missing
                .map(|missing| Missing::of(&missing.server, &missing.error))
                .collect(),
        })
    }

    /// The tools that the daemon lists: those of one server under their own names, else all as `server__tool`.
    pub(crate) async fn listed_by(
        client: &dyn Client,
        server: Option<&str>,
    ) -> Result<Self, Failure> {
        let list = List::of(client, "tools/list", "tools").await?;
        let tools = list.items.into_iter().filter_map(|definition| {
            let exposed = definition["name"].as_str()?.to_owned();
            let (server, name) = match server {
                Some(server) => (server, exposed.as_str()),
                None => exposed.split_once("__").unwrap_or(("", &exposed)),
            };
            let tool = Tool {
                server: server.to_owned(),
                name: name.to_owned(),
                raw: serde_json::value::to_raw_value(&definition).ok()?,
                exposed,
                definition,
            };
            Some(tool)
        });
        Ok(Self {
            tools: tools.collect(),
            missing: list.missing,
        })
    }

    /// The tool of this name: `server.tool`, or as it is exposed.
    pub(crate) fn find(&self, name: &str) -> Result<&Tool, Failure> {
        let mut tools = self.tools.iter();
        if let Some(tool) = tools.find(|tool| tool.is_named(name)) {
            return Ok(tool);
        }
        let begins = |server: &str| {
            let rest = name.strip_prefix(server);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("__"))
        };
        if let Some(missing) = self.missing.iter().find(|missing| begins(&missing.server)) {
            return Err(missing.failure());
        }
        let dotted: Vec<_> = self.tools.iter().map(Tool::dotted).collect();
        let hint = nearest::hint(name, dotted.iter().map(String::as_str));
        let failure = Failure::usage(format!("there is no tool `{}`{hint}", name.escape_debug()));
        let of = self.tools.iter().find(|tool| begins(&tool.server));
        Err(match of {
            Some(tool) => failure.fix(format!("mcp-pool list {}", tool.server)),
            None => failure.fix("mcp-pool list"),
        })
    }

    /// Some of the tools as a document, each as its server wrote it.
    pub(crate) fn document<'a>(&'a self, of: impl IntoIterator<Item = &'a Tool>) -> Document<'a> {
        Document {
            tools: of.into_iter().map(|tool| &*tool.raw).collect(),
            missing: &self.missing,
        }
    }

    /// The failure of a listing that has nothing to show, if that is because of the servers.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.missing.first() {
            Some(missing) if self.tools.is_empty() => Err(missing.failure()),
            _ => Ok(()),
        }
    }
}

/// A whole list of any kind.
pub(crate) struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) missing: Vec<Missing>,
}

impl List {
    /// Lists to the last page.
    pub(crate) async fn of(
        client: &dyn Client,
        method: &'static str,
        member: &str,
    ) -> Result<Self, Failure> {
        let mut list = Self {
            items: Vec::new(),
            missing: Vec::new(),
        };
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = match &cursor {
                None => Request::new(method),
                Some(cursor) => {
                    let params = serde_json::json!({ "cursor": cursor });
                    let params = serde_json::value::to_raw_value(&params);
                    Request::from_raw(method, Some(&params.map_err(Failure::internal)?))?
                }
            };
            let reply = client.send(request, RequestOptions::new().all_pages());
            let reply = reply.await?.into_raw();
            let mut page: Page = serde_json::from_str(reply.get()).map_err(|error| {
                Failure::new(
                    Exit::Unreachable,
                    format!("{method}: invalid reply: {error}"),
                )
            })?;
            if let Some(Value::Array(items)) = page.members.remove(member) {
                list.items.extend(items);
            }
            if let Some(missing) = page.meta.remove("mcp-pool/missing") {
                list.missing = serde_json::from_value(missing).unwrap_or_default();
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(list)
    }
}

impl Tool {
    /// The name that people use.
    pub(crate) fn dotted(&self) -> String {
        match self.server.is_empty() {
            true => self.name.clone(),
            false => format!("{}.{}", self.server, self.name),
        }
    }

    /// Whether it is meant: `server.tool`, `server__tool`, or as it is exposed.
    fn is_named(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.server);
        let own = rest.and_then(|rest| rest.strip_prefix("__"));
        self.exposed == name || self.dotted() == name || own == Some(&self.name)
    }

    /// The tool as its server defines it.
    pub(crate) fn target(&self) -> ToolTarget {
        let mut target = ToolTarget::new(self.server.as_str(), &self.name);
        target.definition = named(&self.raw, &self.name);
        target
    }

    pub(crate) fn description(&self) -> &str {
        let text = |key: &str| {
            self.definition[key]
                .as_str()
                .filter(|text| !text.is_empty())
        };
        let title = || text("title").or(self.definition["annotations"]["title"].as_str());
        text("description").or_else(title).unwrap_or_default()
    }

    pub(crate) fn effect(&self) -> Effect {
        let hint = |name: &str| self.definition["annotations"][name].as_bool();
        match (hint("readOnlyHint"), hint("destructiveHint")) {
            (Some(true), _) => Effect::Reads,
            (_, Some(true)) => Effect::Destroys,
            (_, Some(false)) => Effect::Writes,
            // By the protocol a tool that writes destroys unless it says that it does not.
            (Some(false), None) => Effect::Destroys,
            (None, None) => Effect::Unknown,
        }
    }
}

impl Effect {
    pub(crate) fn mark(self) -> char {
        match self {
            Self::Reads => 'r',
            Self::Writes => 'w',
            Self::Destroys => 'd',
            Self::Unknown => '?',
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Reads => "only reads",
            Self::Writes => "writes, and destroys nothing",
            Self::Destroys => "may destroy",
            Self::Unknown => "does not say what it does; it may destroy",
        }
    }
}

impl Missing {
    fn of(server: &str, error: &Error) -> Self {
        Self {
            server: server.to_owned(),
            error: error.to_string(),
            kind: error.kind().as_str().to_owned(),
            stderr: error.stderr().to_vec(),
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        let exit = match Exit::of_kind(&self.kind) {
            // No tool was called.
            Exit::ToolError => Exit::Unreachable,
            exit => exit,
        };
        Failure::new(exit, &self.error)
            .details(&self.stderr)
            .fix(format!("mcp-pool doctor {}", self.server))
    }
}

/// The name that people use for an exposed one.
pub(crate) fn dotted(exposed: &str) -> String {
    exposed.replacen("__", ".", 1)
}

/// Where lists are kept on disk.
pub(crate) fn catalogue(folders: &Folders) -> PathBuf {
    folders.state.join("catalogue")
}

/// The definition under another name, its members as they were written.
fn named(definition: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(definition.get()).ok()?;
    members.insert("name".into(), serde_json::value::to_raw_value(name).ok()?);
    serde_json::value::to_raw_value(&members).ok()
}

const MAX_PAGES: usize = 1_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(server: &str, name: &str, annotations: Value) -> Tool {
        Tool {
            server: server.into(),
            name: name.into(),
            exposed: format!("{server}__{name}"),
            definition: json!({ "annotations": annotations }),
            raw: RawValue::from_string("{}".into()).unwrap(),
        }
    }

    #[test]
    fn a_tool_is_found_by_either_name_and_else_the_nearest_is_named() {
        let tools = Tools {
            tools: vec![
                tool("time", "now", json!(null)),
                tool("a.b", "c", json!(null)),
            ],
            missing: vec![Missing {
                server: "dead".into(),
                error: "server `dead`: gone".into(),
                kind: "connection".into(),
                stderr: Vec::new(),
            }],
        };
        assert_eq!(tools.find("time.now").unwrap().name, "now");
        assert_eq!(tools.find("time__now").unwrap().name, "now");
        assert_eq!(tools.find("a.b.c").unwrap().name, "c");
        let failure = |name| tools.find(name).unwrap_err();
        assert_eq!(failure("dead.x").exit, Exit::Unreachable);
        let unknown = failure("time.nwo");
        assert_eq!(unknown.exit, Exit::Usage);
        assert_eq!(
            unknown.to_string(),
            "error: there is no tool `time.nwo`; did you mean `time.now`?\nFix: mcp-pool list time"
        );
    }

    #[test]
    fn effects_are_those_of_the_protocol() {
        for (annotations, effect) in [
            (json!(null), Effect::Unknown),
            (json!({"title": "x"}), Effect::Unknown),
            (
                json!({"readOnlyHint": true, "destructiveHint": true}),
                Effect::Reads,
            ),
            (json!({"readOnlyHint": false}), Effect::Destroys),
            (
                json!({"readOnlyHint": false, "destructiveHint": false}),
                Effect::Writes,
            ),
            (json!({"destructiveHint": true}), Effect::Destroys),
        ] {
            assert_eq!(
                tool("a", "b", annotations.clone()).effect(),
                effect,
                "{annotations}"
            );
        }
    }
}
