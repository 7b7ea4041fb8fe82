//! Answers the server's requests during a call.

use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, Implementation},
    service::RequestContext,
};
use serde_json::{Map, Value, json};

/// Accepts every form with the defaults of its fields.
pub(crate) struct AcceptsDefaults;

impl ClientHandler for AcceptsDefaults {
    fn get_info(&self) -> ClientConfig {
        let capabilities = json!({ "elicitation": { "form": {} } });
        ClientConfig::new(
            serde_json::from_value(capabilities).expect("capabilities"),
            Implementation::new("mcp-pool-conformance", env!("CARGO_PKG_VERSION")),
        )
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let request = serde_json::to_value(request).unwrap_or_default();
        let fields = request["requestedSchema"]["properties"].as_object();
        let content: Map<String, Value> = fields
            .into_iter()
            .flatten()
            .filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone())))
            .collect();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(content)))
    }
}
