//! The ways in which requests fail, for the document.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{Content, Ref, RefOr, Response, ResponseBuilder},
};

/// Of every route: the host name is not known, the time is up.
pub(crate) struct Foreign;

/// Of those that may need the token, beside these: it is missing or wrong.
pub(crate) struct Refused;

/// Of the Prometheus text, beside these: too many ask for it.
pub(crate) struct TooBusy;

/// Of a server that is not there, beside those.
pub(crate) struct NoServer;

/// Of a query with a mistake in it, beside those of every route.
pub(crate) struct BadQuery;

/// Of a change, beside those of a server that is not there.
pub(crate) struct NoChange;

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for Foreign {
    fn responses() -> Responses {
        let why = "The host name is not known, a page from elsewhere asks for a change, or a token is needed and none \
                   configured";
        all(&[
            ("400", "A parameter is not known"),
            ("403", why),
            ("504", "It took too long"),
        ])
    }
}

impl IntoResponses for Refused {
    fn responses() -> Responses {
        let mut responses = Foreign::responses();
        responses.extend(all(&[("401", "The token is missing or wrong")]));
        responses
    }
}

impl IntoResponses for TooBusy {
    fn responses() -> Responses {
        let mut responses = Refused::responses();
        responses.extend(all(&[("503", "Too many ask for it at once")]));
        responses
    }
}

impl IntoResponses for NoServer {
    fn responses() -> Responses {
        let mut responses = Refused::responses();
        responses.extend(all(&[
            (
                "400",
                "The name cannot be read, or a parameter is not known",
            ),
            (
                "404",
                "There is no server of this name; `known_servers` are there",
            ),
        ]));
        responses
    }
}

impl IntoResponses for BadQuery {
    fn responses() -> Responses {
        let mut responses = Refused::responses();
        responses.extend(all(&[("400", "A parameter is wrong: `field` tells which")]));
        responses
    }
}

impl IntoResponses for NoChange {
    fn responses() -> Responses {
        let mut responses = NoServer::responses();
        responses.extend(all(&[
            ("409", "The server is switched off"),
            ("413", "There was a body, and too much of it"),
            ("503", "The program is about to end"),
        ]));
        responses
    }
}

fn all(problems: &[(&str, &str)]) -> Responses {
    let problem = |description: &str| -> RefOr<Response> {
        let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
        ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content)
            .build()
            .into()
    };
    problems
        .iter()
        .map(|(status, description)| ((*status).to_owned(), problem(description)))
        .collect()
}
