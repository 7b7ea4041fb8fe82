//! Two resources and a template.

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};

/// The resources, in the order of their listing.
pub(crate) fn all() -> Vec<Resource> {
    vec![
        Resource::new(README, "readme")
            .with_description("A text.")
            .with_mime_type("text/plain"),
        Resource::new(PIXEL, "pixel")
            .with_description("Bytes.")
            .with_mime_type("application/octet-stream"),
    ]
}

/// The templates: items by number.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("testkit://item/{number}", "item")
            .with_description("Any item, by its number.")
            .with_mime_type("text/plain"),
    ]
}

/// The contents behind a URI.
///
/// # Errors
///
/// Resource not found, which rmcp turns into invalid params for modern clients.
pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let contents = match uri {
        README => ResourceContents::text("A server for tests.", uri).with_mime_type("text/plain"),
        PIXEL => ResourceContents::blob("AAEC", uri).with_mime_type("application/octet-stream"),
        _ => match uri.strip_prefix(ITEM).map(str::parse::<u64>) {
            Some(Ok(number)) => {
                ResourceContents::text(format!("item {number}"), uri).with_mime_type("text/plain")
            }
            _ => {
                let message = format!("no such resource: {uri}");
                return Err(ErrorData::resource_not_found(message, None));
            }
        },
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

const README: &str = "testkit://readme";
const PIXEL: &str = "testkit://pixel";
const ITEM: &str = "testkit://item/";
