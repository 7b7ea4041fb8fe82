//! Questions to modern clients, and the state that these carry until they answer.
//!
//! A legacy server asks while its call runs, and a modern client answers by sending the call again. Between the two the call
//! is parked. What identifies it is sealed into `requestState`; so is the state of a modern server. Both are bound to the
//! session, the method and the arguments: another request cannot use them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use rmcp::{ErrorData, model::ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    gateway::Inner,
    keys::{self, Keys, hash, short},
    members::Members,
    message::{self, Incoming, own_error},
    principal::Principal,
    session::Session,
    stream::{Inbox, Kept, Parking},
};

/// Calls that wait for the answer of a modern client.
#[derive(Debug, Default)]
pub(crate) struct Parked(Mutex<HashMap<String, Waiting>>);

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) inbox: Inbox,
    pub(crate) kept: Kept,
    question: String,
    principal: Principal,
    /// Ends the task that would forget it.
    _answered: DropGuard,
}

/// What `requestState` holds.
#[derive(Deserialize, Serialize)]
struct Sealed {
    /// What it is bound to.
    #[serde(rename = "b")]
    binding: String,
    #[serde(rename = "s")]
    state: State,
}

/// What a client sends back to go on.
#[derive(Deserialize, Serialize)]
pub(crate) enum State {
    /// The name of a parked call.
    #[serde(rename = "p")]
    Parked(String),
    /// The state of a modern server.
    #[serde(rename = "s")]
    Server(String),
}

/// What a request is bound to: its session, its method, and its parameters without those that a retry adds.
pub(crate) fn binding(session: &Session, incoming: &Incoming) -> String {
    let params = incoming.params.as_deref();
    let mut params: Value = params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .unwrap_or_default();
    if let Some(params) = params.as_object_mut() {
        for retry in ["inputResponses", "requestState", "_meta"] {
            params.remove(retry);
        }
    }
    let mut text = String::new();
    canonical(&params, &mut text);
    let parts = [
        session.scope.as_bytes(),
        incoming.method.as_bytes(),
        text.as_bytes(),
    ];
    short(&hash(&parts))
}

/// The state in a request, if it has one.
///
/// # Errors
/// For one that does not open, or belongs to another request.
pub(crate) fn state(
    keys: &Keys,
    params: &Members,
    binding: &str,
) -> Result<Option<State>, ErrorData> {
    let Some(sealed) = params.text("requestState") else {
        return Ok(None);
    };
    let opened = keys.open(PURPOSE, &sealed);
    let opened = opened.and_then(|opened| serde_json::from_slice::<Sealed>(&opened).ok());
    match opened {
        Some(opened) if opened.binding == binding => Ok(Some(opened.state)),
        _ => Err(gone("the request state belongs to another request")),
    }
}

/// Wraps the state in a result of a modern server that asks for input.
pub(crate) fn wrapped(keys: &Keys, result: &RawValue, binding: String) -> Box<RawValue> {
    let mut members = Members::of(result);
    if let Some(state) = members.text("requestState") {
        let state = seal(keys, binding, State::Server(state));
        members.set("requestState", message::json(&state));
    }
    members.written()
}

/// Parks the call of this session when its server asks, until the client answers or the call is given up.
pub(crate) fn parking(gateway: &Arc<Inner>, session: &Session, binding: String) -> Parking {
    let gateway = Arc::clone(gateway);
    let (principal, end) = (session.principal.clone(), session.end.clone());
    Box::new(move |inbox, kept, (question, request)| {
        let name = short(&keys::random());
        let answered = CancellationToken::new();
        let waiting = Waiting {
            inbox,
            kept,
            question: question.clone(),
            principal,
            _answered: answered.clone().drop_guard(),
        };
        if !gateway.parked.add(name.clone(), waiting) {
            let hint = "answer the questions that are open";
            let message = "too many calls wait for answers";
            let error = own_error(ErrorCode::INTERNAL_ERROR, message, "question", hint);
            return (Err(error), None);
        }
        let lost = end.child_token();
        let forget = forget(Arc::clone(&gateway), name.clone(), answered, lost.clone());
        gateway.tasks.spawn(forget);
        let asked = Asked {
            result_type: "input_required",
            input_requests: BTreeMap::from([(question, request)]),
            request_state: seal(&gateway.keys, binding, State::Parked(name)),
        };
        (Ok(message::json(&asked)), Some(lost.drop_guard()))
    })
}

/// The result that asks a question.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    result_type: &'static str,
    input_requests: BTreeMap<String, Box<RawValue>>,
    request_state: String,
}

/// Gives a parked call up when its session ends, its question is lost on the way to the client, or its time is over. The
/// server is notified, and the next call that waits for its turn there goes on.
async fn forget(
    gateway: Arc<Inner>,
    name: String,
    answered: CancellationToken,
    lost: CancellationToken,
) {
    tokio::select! {
        () = answered.cancelled() => return,
        () = lost.cancelled() => {}
        () = sleep(gateway.settings.park_limit) => {}
        () = gateway.end.cancelled() => {}
    }
    gateway.parked.0.lock().remove(&name);
}

impl Parked {
    fn add(&self, name: String, waiting: Waiting) -> bool {
        let mut parked = self.0.lock();
        let own = |other: &&Waiting| other.principal == waiting.principal;
        let room =
            parked.len() < MOST_PARKED && parked.values().filter(own).count() < MOST_OF_A_PRINCIPAL;
        if room {
            parked.insert(name, waiting);
        }
        room
    }

    /// Takes a parked call out and gives its server the client's answer.
    ///
    /// # Errors
    /// If it does not wait any more, or there is no answer.
    pub(crate) fn resume(
        &self,
        session: &Session,
        name: &str,
        params: &Members,
    ) -> Result<Waiting, ErrorData> {
        let mut parked = self.0.lock();
        let Some(waiting) = parked.get(name) else {
            return Err(gone("the call waits no more for this answer"));
        };
        let responses = params.get("inputResponses").map(Members::of);
        let answer = responses
            .as_ref()
            .and_then(|responses| responses.get(&waiting.question));
        let Some(answer) = answer.map(ToOwned::to_owned) else {
            let message = format!("member `inputResponses` has no `{}`", waiting.question);
            return Err(own_error(
                ErrorCode::INVALID_PARAMS,
                message,
                "question",
                "answer it",
            ));
        };
        let waiting = parked.remove(name).expect("it was there");
        drop(parked);
        session.questions.answer(&waiting.question, Ok(answer));
        Ok(waiting)
    }
}

fn seal(keys: &Keys, binding: String, state: State) -> String {
    let sealed = serde_json::to_vec(&Sealed { binding, state });
    keys.seal(PURPOSE, &sealed.expect("a struct of text"))
}

fn gone(why: &'static str) -> ErrorData {
    let hint = "call again without `requestState` and `inputResponses`";
    own_error(ErrorCode::INVALID_PARAMS, why, "question", hint)
}

/// The same text for the same JSON, however it is written.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in members {
                text.push_str(message::json(name).get());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

const PURPOSE: &str = "mcp-request-state";
const MOST_PARKED: usize = 1_000;
const MOST_OF_A_PRINCIPAL: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        principal::PrincipalKind,
        stream::{self, StreamLimits},
    };

    #[test]
    fn one_principal_leaves_room_for_calls_of_others_and_an_answer_ends_what_would_forget_the_call()
    {
        let parked = Parked::default();
        let answered = CancellationToken::new();
        let add = |name: String, principal: &str| {
            let waiting = Waiting {
                inbox: stream::channel(StreamLimits::default()).1,
                kept: Kept::default(),
                question: String::new(),
                principal: Principal::new(PrincipalKind::Token, principal),
                _answered: answered.child_token().drop_guard(),
            };
            parked.add(name, waiting)
        };
        let names = (0..).map(|number| number.to_string());
        let taken = names.take_while(|name| add(name.clone(), "ann")).count();
        assert_eq!(taken, MOST_OF_A_PRINCIPAL);
        assert!(add("of ben".to_owned(), "ben"));
        let forgets = CancellationToken::new();
        let waiting = parked.0.lock().get_mut("of ben").map(|waiting| {
            waiting._answered = forgets.clone().drop_guard();
        });
        assert!(waiting.is_some() && !forgets.is_cancelled());
        parked.0.lock().remove("of ben");
        assert!(forgets.is_cancelled());
    }
}
