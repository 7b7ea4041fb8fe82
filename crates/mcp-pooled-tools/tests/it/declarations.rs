//! What sessions declare to their servers, and what the servers make of it.

use std::collections::BTreeMap;

use mcp_pooled_tools::{
    ConnectionManager, ConnectionManagerBuilder, ErrorKind, Identity, PoolSettings,
    config::Lifecycle, core::connect::in_process::InProcess,
};
use rmcp::{ErrorData, RoleServer, ServerHandler, model::*, service::RequestContext};
use serde_json::{Map, json};

const APPS: &str = "io.modelcontextprotocol/ui";

/// Shows a tool more to clients that know apps, and its description is the client's name.
#[derive(Clone, Copy)]
struct Shy;

impl ServerHandler for Shy {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let client = context.client_info().map(|client| client.name);
        let tool = |name| Tool::new(name, client.clone().unwrap_or_default(), Map::new());
        let extensions = context.client_capabilities().and_then(|all| all.extensions);
        let mut tools = vec![tool("plain")];
        if extensions.is_some_and(|extensions| extensions.contains_key(APPS)) {
            tools.push(tool("app"));
        }
        Ok(ListToolsResult::with_all_items(tools).with_ttl_ms(3_600_000))
    }
}

fn client(name: &str, apps: bool) -> ClientConfig {
    let mut capabilities = ClientCapabilities::default();
    if apps {
        capabilities.extensions = Some(BTreeMap::from([(
            APPS.to_owned(),
            json!({}).as_object().cloned().unwrap(),
        )]));
    }
    ClientConfig::new(capabilities, Implementation::new(name, "1"))
}

fn builder(lifecycle: Lifecycle) -> ConnectionManagerBuilder {
    let settings = || PoolSettings::new().lifecycle(lifecycle);
    ConnectionManager::builder()
        .connector("one", InProcess::new(|| Shy), settings())
        .connector("two", InProcess::new(|| Shy), settings())
}

/// Names of the tools, and what the server calls the client.
macro_rules! listed {
    ($tools:expr) => {{
        let list = $tools.list_all_tools().await.unwrap();
        let client = list[0].description.clone().unwrap_or_default().into_owned();
        let names: Vec<_> = list.iter().map(|tool| tool.name.to_string()).collect();
        (client, names.join(" "))
    }};
}

fn expected(client: &str, tools: &str) -> (String, String) {
    (client.to_owned(), tools.to_owned())
}

#[tokio::test]
async fn what_is_declared_for_a_manager_a_server_and_a_scope_reaches_its_servers_in_both_eras() {
    for era in [Lifecycle::Initialize, Lifecycle::Discover] {
        let manager = builder(era)
            .client_info(client("everywhere", false))
            .server_client_info("two", client("of two", true))
            .build()
            .await
            .unwrap();
        let (one, two) = (manager.tools("one").unwrap(), manager.tools("two").unwrap());
        assert_eq!(listed!(one), expected("everywhere", "plain"));
        assert_eq!(listed!(two), expected("of two", "plain app"));

        // A scope with another declaration has sessions and a list of its own.
        let scope = one.with_client_info(client("scope", true));
        assert_eq!(listed!(scope), expected("scope", "plain app"));
        assert_eq!(listed!(one), expected("everywhere", "plain"));
        let other = scope.with_identity(Identity::new("other"));
        assert_eq!(listed!(other), expected("scope", "plain app"));
        let same = one.with_client_info(client("scope", true));
        assert_eq!(listed!(same), expected("scope", "plain app"));
        assert_eq!(manager.pool_status("one").unwrap().opened, 1);

        let direct = manager.direct_tools("two").unwrap();
        assert_eq!(listed!(direct), expected("of two", "plain app"));
        let direct = direct.with_client_info(client("direct", false));
        assert_eq!(listed!(direct), expected("direct", "plain"));
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_declaration_for_a_server_that_is_not_there_is_an_error() {
    let built = builder(Lifecycle::Auto).server_client_info("three", client("c", false));
    let error = built.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("three"), "{error}");
}
