//! Two prompts, and completion for the argument of one.

use rmcp::{
    ErrorData,
    model::{
        CompleteRequestParams, CompletionInfo, GetPromptRequestParams, GetPromptResult, Prompt,
        PromptArgument, PromptMessage, Role,
    },
};
use serde_json::Value;

/// The prompts, in the order of their listing.
pub(crate) fn all() -> Vec<Prompt> {
    let name = PromptArgument::new("name")
        .with_description("Whom to greet.")
        .with_required(true);
    let language = PromptArgument::new("language")
        .with_description("The language the code is written in.")
        .with_required(false);
    vec![
        Prompt::new("greeting", Some("Greets a person."), Some(vec![name])),
        Prompt::new(
            "review",
            Some("Asks for a code review."),
            Some(vec![language]),
        ),
    ]
}

/// One prompt, filled in.
///
/// # Errors
///
/// Invalid params for an unknown prompt or a missing argument.
pub(crate) fn get(request: GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|all| all.get(name))
            .and_then(Value::as_str)
    };
    let text = match request.name.as_str() {
        "greeting" => match argument("name") {
            Some(name) => format!("Say hello to {name}."),
            None => return Err(ErrorData::invalid_params("greeting needs a name", None)),
        },
        "review" => format!(
            "Review this {} code.",
            argument("language").unwrap_or("Rust")
        ),
        other => {
            return Err(ErrorData::invalid_params(
                format!("no such prompt: {other}"),
                None,
            ));
        }
    };
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(
        Role::User,
        text,
    )]))
}

/// The languages that begin as the argument does; nothing for any other argument.
pub(crate) fn complete(request: &CompleteRequestParams) -> CompletionInfo {
    if request.argument.name != "language" {
        return CompletionInfo::default();
    }
    let begun = request.argument.value.to_lowercase();
    let values: Vec<_> = LANGUAGES
        .iter()
        .filter(|language| language.to_lowercase().starts_with(&begun))
        .map(|language| (*language).to_owned())
        .collect();
    CompletionInfo::new(values).expect("six languages are below the limit of a hundred values")
}

const LANGUAGES: &[&str] = &["C", "Go", "Python", "Ruby", "Rust", "TypeScript"];
