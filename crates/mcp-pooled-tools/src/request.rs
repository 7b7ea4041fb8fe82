//! A request as a value: its method, its parameters as JSON, and its `_meta`.
//!
//! The parameters are written once, when they are first needed, and never parsed on the way. `_meta` is kept apart, because
//! every layer adds to it: the caller, the trace, the session.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, LazyLock},
};

use rmcp::model::{
    CallToolRequestParams, ClientRequest, InputResponses, RequestMetaObject, RequestParamsMeta,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    error::{Error, ErrorKind},
    operation::Operation,
};

/// A request to a server. Cheap to clone: copies share their parameters.
#[derive(Clone)]
pub struct Request {
    method: Cow<'static, str>,
    tool: Option<Cow<'static, str>>,
    params: Option<Arc<Params>>,
    meta: RequestMetaObject,
}

/// A JSON object without `_meta`. Long parameters take their time, which is part of the call's.
type Params = LazyLock<Box<RawValue>, Box<dyn FnOnce() -> Box<RawValue> + Send>>;

impl Request {
    /// A request without parameters.
    pub fn new(method: impl Into<Cow<'static, str>>) -> Self {
        Self {
            method: method.into(),
            tool: None,
            params: None,
            meta: RequestMetaObject::default(),
        }
    }

    /// A request with these parameters, whatever they hold. A `_meta` among them becomes [`Request::meta`].
    ///
    /// # Errors
    /// [`ErrorKind::Validation`] for parameters that are not a JSON object, for a `_meta` that is not one, and for a tool
    /// call without the name of its tool.
    pub fn from_raw(
        method: impl Into<Cow<'static, str>>,
        params: Option<&RawValue>,
    ) -> Result<Self, Error> {
        let mut request = Self::new(method);
        let Some(params) = params.filter(|params| params.get() != "null") else {
            return request.named();
        };
        let invalid = |error: serde_json::Error| {
            let message = format!("parameters of `{}`: {error}", request.method);
            Error::new(ErrorKind::Validation, message)
        };
        let members: Members<'_> = serde_json::from_str(params.get()).map_err(invalid)?;
        match members.get("_meta") {
            Some(meta) => {
                let meta = serde_json::from_str(meta.get()).map_err(invalid)?;
                request.params = Some(written(members.without(&["_meta"])));
                request.meta = meta;
            }
            None => request.params = Some(written(params.to_owned())),
        }
        request.named()
    }

    /// A request of the protocol with its typed parameters.
    pub(crate) fn of(
        method: &'static str,
        mut params: impl Serialize + RequestParamsMeta + Send + 'static,
    ) -> Self {
        let meta = params.meta_mut().take().unwrap_or_default();
        Self {
            params: Some(Arc::new(LazyLock::new(Box::new(move || json(&params))))),
            meta,
            ..Self::new(method)
        }
    }

    /// The same where the parameters may be missing.
    pub(crate) fn of_optional(
        method: &'static str,
        params: Option<impl Serialize + RequestParamsMeta + Send + 'static>,
    ) -> Self {
        match params {
            Some(params) => Self::of(method, params),
            None => Self::new(method),
        }
    }

    /// Reads the name of the tool that is called.
    fn named(mut self) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        if self.method == TOOLS_CALL {
            self.tool = Some(self.parse_params::<Named>()?.name.into());
        }
        Ok(self)
    }

    /// The JSON-RPC method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The tool that is called, if this is a tool call.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// The parameters as a JSON object, without `_meta`.
    #[must_use]
    pub fn params(&self) -> Option<&RawValue> {
        self.params.as_deref().map(|params| &***params)
    }

    /// The parameters in their typed form, without `_meta`.
    ///
    /// # Errors
    /// [`ErrorKind::Validation`] if they do not fit.
    pub fn parse_params<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let params = self.params().map_or("{}", RawValue::get);
        serde_json::from_str(params).map_err(|error| {
            let message = format!("parameters of `{}`: {error}", self.method);
            Error::new(ErrorKind::Validation, message)
        })
    }

    /// The request's `_meta`, empty if it has none.
    #[must_use]
    pub fn meta(&self) -> &RequestMetaObject {
        &self.meta
    }

    /// The request's `_meta`, to be changed.
    #[must_use]
    pub fn meta_mut(&mut self) -> &mut RequestMetaObject {
        &mut self.meta
    }

    /// The parameters as they are sent, `_meta` included.
    #[must_use]
    pub fn to_params(&self) -> Option<Box<RawValue>> {
        if self.meta.is_empty() {
            return self.params().map(ToOwned::to_owned);
        }
        let meta = with_member("_meta", &self.meta);
        Some(match self.params() {
            Some(params) => joined(&meta, params),
            None => meta,
        })
    }

    /// The same request with the input that the server has asked for.
    pub(crate) fn with_input(
        &self,
        responses: Option<&InputResponses>,
        state: Option<&str>,
    ) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Input<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            input_responses: Option<&'a InputResponses>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_state: Option<&'a str>,
        }
        let input = Input {
            input_responses: responses,
            request_state: state,
        };
        self.with_members(&["inputResponses", "requestState"], &input)
    }

    /// The same request with other values of these parameters.
    pub(crate) fn with_members(&self, names: &[&str], values: &impl Serialize) -> Self {
        let params = self.params().map_or("{}", RawValue::get);
        let members: Members<'_> = serde_json::from_str(params).unwrap_or_default();
        let rest = members.without(names);
        Self {
            params: Some(written(joined(&rest, &json(values)))),
            ..self.clone()
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        match &self.tool {
            Some(tool) => Operation::Tool(tool.clone()),
            None => Operation::of_method(&self.method),
        }
    }

    /// The request in rmcp's types. Parameters that they do not know are lost.
    ///
    /// # Errors
    /// [`ErrorKind::Validation`] for parameters that do not fit their method.
    pub fn to_typed(&self) -> Result<ClientRequest, Error> {
        #[derive(Serialize)]
        struct Message<'a> {
            method: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            params: Option<&'a RawValue>,
        }
        let params = self.to_params();
        let message = json(&Message {
            method: &self.method,
            params: params.as_deref(),
        });
        serde_json::from_str(message.get()).map_err(|error| {
            let message = format!("parameters of `{}`: {error}", self.method);
            Error::new(ErrorKind::Validation, message)
        })
    }
}

impl From<CallToolRequestParams> for Request {
    fn from(params: CallToolRequestParams) -> Self {
        let tool = params.name.clone();
        Self {
            tool: Some(tool),
            ..Self::of(TOOLS_CALL, params)
        }
    }
}

impl From<ClientRequest> for Request {
    fn from(request: ClientRequest) -> Self {
        #[derive(Deserialize)]
        struct Message<'a> {
            method: String,
            #[serde(borrow, default)]
            params: Option<&'a RawValue>,
        }
        let message = json(&request);
        let message: Message<'_> =
            serde_json::from_str(message.get()).expect("a request has a method");
        Self::from_raw(message.method, message.params)
            .expect("the parameters of rmcp's requests are objects")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("tool", &self.tool)
            .finish_non_exhaustive()
    }
}

fn written(params: Box<RawValue>) -> Arc<Params> {
    Arc::new(LazyLock::new(Box::new(move || params)))
}

/// The members of a JSON object, each as it was written.
#[derive(Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(member, _)| member == name);
        found.map(|(_, value)| *value)
    }

    /// Whether there is more than one member of this name: readers differ in which of them they take.
    pub(crate) fn is_ambiguous(&self, name: &str) -> bool {
        self.0.iter().filter(|(member, _)| member == name).count() > 1
    }

    /// The value of a member, if it is one of this type.
    pub(crate) fn parse<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The object without some of its members.
    pub(crate) fn without(&self, names: &[&str]) -> Box<RawValue> {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&&**name));
        let written: Vec<_> = kept
            .map(|(name, value)| format!("{}:{value}", json(name)))
            .collect();
        object(format!("{{{}}}", written.join(",")))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(member) = map.next_entry()? {
                    members.0.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// An object of one member.
pub(crate) fn with_member(name: &str, value: &impl Serialize) -> Box<RawValue> {
    object(format!("{{{}:{}}}", json(name), json(value)))
}

/// The members of two objects in one.
pub(crate) fn joined(first: &RawValue, second: &RawValue) -> Box<RawValue> {
    let (first, second) = (inside(first.get()), inside(second.get()));
    let comma = if first.is_empty() || second.is_empty() {
        ""
    } else {
        ","
    };
    object(format!("{{{first}{comma}{second}}}"))
}

/// What stands between the braces of an object.
fn inside(object: &str) -> &str {
    let members = object.trim().strip_prefix('{');
    members
        .and_then(|members| members.strip_suffix('}'))
        .map_or("", str::trim)
}

fn object(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("members of objects make an object")
}

/// JSON of a value whose maps have strings for keys.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("models of the protocol can be written as JSON")
}

const TOOLS_CALL: &str = "tools/call";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn sent(request: &Request) -> Value {
        let params = request.to_params().expect("it has parameters");
        serde_json::from_str(params.get()).expect("they are JSON")
    }

    #[test]
    fn parameters_reach_the_server_as_they_were_given_with_one_meta() {
        let given = json!({"name": "a", "odd": [1.50, {"_meta": 1}], "_meta": {"mine": 1}});
        let raw = to_raw_value(&given).unwrap();
        let mut request = Request::from_raw("tools/call", Some(&raw)).unwrap();
        assert_eq!((request.tool(), sent(&request)), (Some("a"), given));
        request.meta_mut().insert("more".into(), json!(2));
        let both =
            json!({"name": "a", "odd": [1.50, {"_meta": 1}], "_meta": {"mine": 1, "more": 2}});
        assert_eq!(sent(&request), both);
    }

    #[test]
    fn a_typed_request_is_the_same_as_its_json() {
        let params =
            CallToolRequestParams::new("a").with_input_responses(InputResponses::default());
        let request = Request::from(params).with_input(None, Some("s"));
        assert_eq!(sent(&request), json!({"name": "a", "requestState": "s"}));
        let typed = request.to_typed().unwrap();
        let again = Request::from(typed);
        assert_eq!((again.tool(), sent(&again)), (Some("a"), sent(&request)));
    }

    #[test]
    fn parameters_that_are_no_object_and_a_tool_call_without_a_tool_are_refused() {
        for (method, params) in [("x", "[1]"), ("x", r#"{"_meta":1}"#), ("tools/call", "{}")] {
            let params = RawValue::from_string(params.to_owned()).unwrap();
            let error = Request::from_raw(method, Some(&params)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Validation, "{method} {params}");
        }
        assert!(
            Request::from_raw("ping", None)
                .unwrap()
                .to_params()
                .is_none()
        );
    }
}
