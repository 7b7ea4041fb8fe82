//! Lists without end, without reply, or past their age.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, Sharing, Validate, config::Lifecycle,
    core::connect::in_process::InProcess,
};
use rmcp::{ErrorData, RoleServer, ServerHandler, model::*, service::RequestContext};
use serde_json::{Map, json};
use tokio::time::{advance, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// How the server lists.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lists {
    /// Every page names the same next page.
    Looping,
    /// The first request for a list is never answered.
    SilentOnce,
    Whole,
}

#[derive(Clone)]
struct Scripted {
    lists: Lists,
    requests: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(lists: Lists) -> Self {
        Self {
            lists,
            requests: Arc::default(),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// The cursor of the next page.
    async fn next(&self) -> Option<String> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        if self.lists == Lists::SilentOnce && before == 0 {
            std::future::pending::<()>().await;
        }
        (self.lists == Lists::Looping).then(|| "8".to_owned())
    }

    async fn manager(&self, settings: PoolSettings) -> ConnectionManager {
        let server = self.clone();
        ConnectionManager::builder()
            .connector("test", InProcess::new(move || server.clone()), settings)
            .build()
            .await
            .unwrap()
    }
}

type Context = RequestContext<RoleServer>;

impl ServerHandler for Scripted {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .build();
        ServerConfig::new(capabilities)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = ["a", "b"].map(|name| Tool::new(name, "", Map::new()));
        let mut page = ListToolsResult::with_all_items(tools.to_vec());
        page.next_cursor = self.next().await;
        Ok(page)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut page =
            ListPromptsResult::with_all_items(vec![Prompt::new("a", None::<String>, None)]);
        page.next_cursor = self.next().await;
        Ok(page)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut page = ListResourcesResult::with_all_items(vec![Resource::new("file:///a", "a")]);
        page.next_cursor = self.next().await;
        Ok(page)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new("file:///{a}", "a");
        let mut page = ListResourceTemplatesResult::with_all_items(vec![template]);
        page.next_cursor = self.next().await;
        Ok(page)
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::success(Vec::new()).into())
    }
}

fn both_eras() -> [PoolSettings; 2] {
    [Lifecycle::Initialize, Lifecycle::Discover].map(|era| PoolSettings::new().lifecycle(era))
}

/// Lists everything there is, each thing once.
macro_rules! lists_end {
    ($client:expr) => {{
        let client = $client;
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(client.list_all_prompts().await.unwrap().len(), 1);
        assert_eq!(client.list_all_resources().await.unwrap().len(), 1);
        assert_eq!(client.list_all_resource_templates().await.unwrap().len(), 1);
    }};
}

#[tokio::test]
async fn a_cursor_that_never_advances_ends_every_list_on_every_kind_of_handle() {
    for settings in both_eras() {
        let server = Scripted::new(Lists::Looping);
        let manager = server.manager(settings).await;
        let tools = manager.tools("test").unwrap();
        lists_end!(&tools);
        assert_eq!(server.requests(), 4 * 2, "one page, and once more");
        lists_end!(manager.direct_tools("test").unwrap());
        lists_end!(tools.session().await.unwrap());
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_background_list_that_is_never_answered_gives_the_only_session_back() {
    let server = Scripted::new(Lists::SilentOnce);
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .validate(Validate::Arguments)
        .sharing(Sharing::Exclusive)
        .min_connections(0)
        .max_connections(1)
        .fallback(mcp_pooled_tools::Fallback::Error)
        .call_timeout(30 * SECOND);
    let manager = server.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    tools.call("a", json!({})).await.unwrap();
    while server.requests() == 0 {
        tokio::task::yield_now().await;
    }
    advance(31 * SECOND).await;
    for _ in 0..10 {
        tools.call("a", json!({})).await.unwrap();
    }
    assert_eq!(tools.list_all_tools().await.unwrap().len(), 2);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_never_answered_ends_at_the_callers_deadline_and_the_next_is_made() {
    let server = Scripted::new(Lists::SilentOnce);
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .call_timeout(2 * SECOND);
    let manager = server.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let error = timeout(3 * SECOND, tools.list_all_tools()).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(tools.list_all_tools().await.unwrap().len(), 2);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_announces_no_changes_is_listed_again_after_list_max_age() {
    let server = Scripted::new(Lists::Whole);
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .list_max_age(10 * SECOND);
    let manager = server.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    for _ in 0..3 {
        tools.list_all_tools().await.unwrap();
    }
    assert_eq!(server.requests(), 1);
    advance(11 * SECOND).await;
    tools.list_all_tools().await.unwrap();
    assert_eq!(server.requests(), 2);
    manager.shutdown().await;
}
