//! Error responses of the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{Content, Ref, RefOr, Response, ResponseBuilder},
};

/// Of every route: unknown host name, time limit.
pub(crate) struct Foreign;

/// Of routes that may need the token, in addition.
pub(crate) struct Refused;

/// Of the Prometheus text, in addition.
pub(crate) struct TooBusy;

/// Of routes with a server in their path, in addition.
pub(crate) struct NoServer;

/// Of routes with a query, in addition.
pub(crate) struct BadQuery;

/// Of actions, in addition.
pub(crate) struct NoChange;

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for Foreign {
    fn responses() -> Responses {
        let why = "The host name is not known, a page of another site requests a change, or a token is needed and none \
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
        responses.extend(all(&[("503", "Too many scrapes at once")]));
        responses
    }
}

impl IntoResponses for NoServer {
    fn responses() -> Responses {
        let mut responses = Refused::responses();
        responses.extend(all(&[
            ("400", "The name is invalid, or a parameter is not known"),
            (
                "404",
                "There is no server of this name; see `known_servers`",
            ),
        ]));
        responses
    }
}

impl IntoResponses for BadQuery {
    fn responses() -> Responses {
        let mut responses = Refused::responses();
        responses.extend(all(&[("400", "The parameter named by `field` is invalid")]));
        responses
    }
}

impl IntoResponses for NoChange {
    fn responses() -> Responses {
        let mut responses = NoServer::responses();
        responses.extend(all(&[
            ("409", "The server is disabled"),
            ("413", "The body is too large"),
            ("503", "The program is shutting down"),
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
