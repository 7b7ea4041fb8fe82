//! `mcp-pool read`: reads a resource.

use std::path::PathBuf;

use clap::Args;
use mcp_pooled_tools::{ErrorKind, Request};
use serde_json::{Value, json};

use crate::{
    content::Contents,
    context::Context,
    failure::Failure,
    nearest,
    servers::{self, Servers, Wanted},
    tools::List,
};

/// Reads a resource.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The URI, as `mcp-pool list --resources` shows it, or one of a template.
    #[arg(value_name = "URI")]
    uri: String,

    /// Saves the contents to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Read {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        servers::with(context, Wanted::default(), async |servers| {
            self.read(context, servers).await
        })
    }

    async fn read(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        servers.progress().say(format!("reading {}", self.uri));
        let params = json!({ "uri": self.uri });
        let params = serde_json::value::to_raw_value(&params).map_err(Failure::internal)?;
        let request = Request::from_raw("resources/read", Some(&params))?;
        let reply = match servers.client().send(request, servers.options()).await {
            Ok(reply) => reply.into_raw(),
            Err(error) if error.kind() == ErrorKind::Protocol => {
                return Err(self.explain(servers, Failure::from(error)).await);
            }
            Err(error) => return Err(error.into()),
        };
        servers.progress().end();
        if context.json {
            return context.output.json(&reply);
        }
        let result: Value = serde_json::from_str(reply.get()).map_err(Failure::internal)?;
        let mut contents = Contents::new(context, self.output.as_deref());
        for one in result["contents"].as_array().into_iter().flatten() {
            contents.resource(one)?;
        }
        Ok(())
    }

    /// Adds the nearest URI, if the one that was asked for is not listed.
    async fn explain(&self, servers: &Servers, failure: Failure) -> Failure {
        let list = List::of(servers.client(), "resources/list", "resources").await;
        let Ok(list) = list else { return failure };
        let uris: Vec<_> = list
            .items
            .iter()
            .filter_map(|item| item["uri"].as_str())
            .collect();
        if uris.contains(&self.uri.as_str()) {
            return failure;
        }
        let hint = nearest::hint(&self.uri, uris);
        let uri = self.uri.escape_debug();
        Failure::usage(format!("there is no resource `{uri}`{hint}"))
            .fix("mcp-pool list --resources")
    }
}
