//! The tool that sends requests to its client: sampling, elicitation and roots.
//!
//! A legacy server sends them while the call runs. A modern one returns `input_required` and is called again with the answers;
//! it keeps no state except what the client sends back.

use rmcp::{
    ErrorData,
    model::{
        CallToolResponse, ClientResult, ErrorCode, InputRequest, InputRequests,
        InputRequiredResult, InputResponses, JsonObject, ServerRequest,
    },
    service::ServiceError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::calls::{Context, read, text};

#[derive(Deserialize)]
struct Wanted {
    what: Vec<What>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Sampling,
    Elicitation,
    /// Elicitation by a page that the client is sent to.
    Url,
    Roots,
}

/// What a modern caller sends along with its answers, if it has been asked already.
pub(crate) struct Round {
    pub(crate) responses: Option<InputResponses>,
    pub(crate) state: Option<String>,
}

/// Asks for one thing after the other, and answers with who answered what.
pub(crate) async fn ask(
    arguments: JsonObject,
    round: Round,
    context: &Context,
) -> Result<CallToolResponse, ErrorData> {
    let Wanted { what } = read(arguments)?;
    let version = context.protocol_version();
    let answers = if version.is_none_or(|version| version.has_initialize()) {
        ask_meanwhile(&what, context).await?
    } else {
        match ask_back(&what, round)? {
            Ok(answers) => answers,
            Err(next) => return Ok(next.into()),
        }
    };
    Ok(text(Value::Object(answers).to_string()).into())
}

async fn ask_meanwhile(what: &[What], context: &Context) -> Result<JsonObject, ErrorData> {
    let mut answers = JsonObject::new();
    for what in what {
        let request: ServerRequest = what.request()?;
        let answer = match context.peer.send_request(request).await {
            Ok(ClientResult::CreateMessageResult(result)) => json!(result),
            Ok(ClientResult::ElicitResult(result)) => json!(result),
            Ok(ClientResult::ListRootsResult(result)) => json!(result),
            Ok(_) => return Err(invalid("the client answers something else")),
            Err(ServiceError::McpError(_)) => json!({"action": "decline"}),
            Err(error) => return Err(ErrorData::internal_error(error.to_string(), None)),
        };
        answers.insert(what.key().into(), said(&answer));
    }
    Ok(answers)
}

/// The answers if they are complete, else what is asked next; the answers so far travel with the caller.
fn ask_back(
    what: &[What],
    round: Round,
) -> Result<Result<JsonObject, InputRequiredResult>, ErrorData> {
    let mut answers: JsonObject = match &round.state {
        Some(state) => serde_json::from_str(state).map_err(|_| invalid("not our state"))?,
        None => JsonObject::new(),
    };
    for (key, answer) in round.responses.unwrap_or_default() {
        answers.insert(key, said(&answer));
    }
    let Some(next) = what.iter().find(|what| !answers.contains_key(what.key())) else {
        return Ok(Ok(answers));
    };
    let request: InputRequest = next.request()?;
    let requests = InputRequests::from_iter([(next.key().to_owned(), request)]);
    let state = Value::Object(answers).to_string();
    Ok(Err(InputRequiredResult::new(Some(requests), Some(state))))
}

impl What {
    fn key(self) -> &'static str {
        match self {
            Self::Sampling => "sampling",
            Self::Elicitation => "elicitation",
            Self::Url => "url",
            Self::Roots => "roots",
        }
    }

    fn request<T: serde::de::DeserializeOwned>(self) -> Result<T, ErrorData> {
        let request = match self {
            Self::Sampling => json!({"method": "sampling/createMessage", "params": {
                "messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}],
                "maxTokens": 10,
            }}),
            Self::Elicitation => json!({"method": "elicitation/create", "params": {
                "mode": "form",
                "message": "who are you?",
                "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
            }}),
            Self::Url => json!({"method": "elicitation/create", "params": {
                "mode": "url",
                "message": "please consent",
                "elicitationId": "consent",
                "url": "https://example.com/consent",
            }}),
            Self::Roots => json!({"method": "roots/list"}),
        };
        serde_json::from_value(request)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

/// Who answered: the model, the name in the form, or the first root; `accepted` for a page, which has no form; `none` without
/// an answer.
fn said(answer: &Value) -> Value {
    let root = || answer["roots"].get(0).map(|root| root["uri"].clone());
    match &answer["action"] {
        Value::Null => match &answer["model"] {
            Value::Null => root().unwrap_or_else(|| json!("none")),
            model => model.clone(),
        },
        accepted if accepted == "accept" => match &answer["content"]["name"] {
            Value::Null => json!("accepted"),
            name => name.clone(),
        },
        _ => json!("declined"),
    }
}

fn invalid(message: &'static str) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, message, None)
}
