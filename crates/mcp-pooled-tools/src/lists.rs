//! All pages of a list, within bounds.
//!
//! Tools, prompts, resources and resource templates are listed by the same function on every kind of handle. A list
//! ends at a cursor that the server has given before, at a number of pages or items, or at a size in memory. The items
//! that came by then are kept, and a warning says what ended the list.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    time::Duration,
};

use mcp_pool_core::Session;
use rmcp::{
    model::{
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, Prompt, Resource, ResourceTemplate, Tool,
    },
    service::ServiceError,
};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::trace::{Carry, Trace};

const MAX_PAGES: usize = 1_000;
const MAX_ITEMS: usize = 10_000;
/// Bytes of the parsed items, which may be ten times the bytes on the wire.
const MAX_BYTES: usize = 64 << 20;
/// rmcp's own bound on the time that a server gives its list.
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A list as the server gave it.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// The shortest time that the server gave one of the pages.
    pub(crate) ttl: Option<Duration>,
    /// Why the list is not whole.
    cut: Option<Cut>,
}

/// What ended a list before its last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    RepeatedCursor,
    Pages,
    Items,
    Bytes,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RepeatedCursor => {
                f.write_str("the server gave a cursor that it had given before")
            }
            Self::Pages => write!(f, "the list has more than {MAX_PAGES} pages"),
            Self::Items => write!(f, "the list has more than {MAX_ITEMS} items"),
            Self::Bytes => write!(f, "the list takes more than {} MiB", MAX_BYTES >> 20),
        }
    }
}

impl<T> Listed<T> {
    #[cfg(test)]
    pub(crate) fn whole(items: Vec<T>, ttl: Option<Duration>) -> Self {
        Self {
            items,
            ttl,
            cut: None,
        }
    }

    /// Warns if the list is not whole.
    pub(crate) fn warned(self, server: &str, method: &str) -> Self {
        if let Some(cut) = self.cut {
            let kept = self.items.len();
            tracing::warn!(
                server,
                "{method}: list is incomplete, kept {kept} items: {cut}"
            );
        }
        self
    }
}

/// A page of a list: how it is requested, and what it holds.
pub(crate) trait Page: Sized + Send {
    type Item: Serialize + Send + Sync + 'static;
    const METHOD: &'static str;

    fn request(
        session: &Session,
        params: PaginatedRequestParams,
    ) -> impl Future<Output = Result<Self, ServiceError>> + Send;

    /// Items, cursor of the next page, and milliseconds that the page is good for.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>, Option<u64>);

    /// What names an item on its server.
    fn key(item: &Self::Item) -> &str;
}

macro_rules! page {
    ($page:ty, $method:literal, $request:ident, $items:ident: $item:ty, $key:ident) => {
        impl Page for $page {
            type Item = $item;
            const METHOD: &'static str = $method;

            async fn request(
                session: &Session,
                params: PaginatedRequestParams,
            ) -> Result<Self, ServiceError> {
                session.$request(Some(params)).await
            }

            fn into_parts(self) -> (Vec<$item>, Option<String>, Option<u64>) {
                (self.$items, self.next_cursor, self.ttl_ms)
            }

            fn key(item: &$item) -> &str {
                &item.$key
            }
        }
    };
}

page!(ListToolsResult, "tools/list", list_tools, tools: Tool, name);
page!(ListPromptsResult, "prompts/list", list_prompts, prompts: Prompt, name);
page!(ListResourcesResult, "resources/list", list_resources, resources: Resource, uri);
page!(
    ListResourceTemplatesResult,
    "resources/templates/list",
    list_resource_templates,
    resource_templates: ResourceTemplate,
    uri_template
);

/// Requests page after page, until the last or a bound.
///
/// # Cancel safety
/// May be dropped at any point; the server is told of the page that is abandoned.
pub(crate) async fn all<P: Page>(
    session: &Session,
    trace: &Trace,
) -> Result<Listed<P::Item>, ServiceError> {
    let mut pages = Pages::<P>::default();
    let mut cursor = None;
    loop {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        // Boxed: a request is large, and every call contains a list.
        let page = Box::pin(P::request(session, params.carrying(trace))).await?;
        cursor = pages.add(page);
        if cursor.is_none() {
            return Ok(pages.finish());
        }
    }
}

/// The pages that have come.
struct Pages<P: Page> {
    count: usize,
    items: Vec<P::Item>,
    bytes: usize,
    ttl: Option<Duration>,
    cut: Option<Cut>,
    /// Hashes: a cursor may be as long as a message.
    cursors: HashSet<u64>,
    hasher: RandomState,
}

impl<P: Page> Default for Pages<P> {
    fn default() -> Self {
        Self {
            count: 0,
            items: Vec::new(),
            bytes: 0,
            ttl: None,
            cut: None,
            cursors: HashSet::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<P: Page> Pages<P> {
    /// Takes a page, and returns the cursor of the next if there is one to ask for.
    fn add(&mut self, page: P) -> Option<String> {
        let (items, next, ttl) = page.into_parts();
        self.count += 1;
        let ttl = ttl.map(|ttl| Duration::from_millis(ttl).min(MAX_TTL));
        self.ttl = match (self.ttl, ttl) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        for item in items {
            self.bytes = self.bytes.saturating_add(weight(&item));
            if self.bytes > MAX_BYTES {
                self.cut = Some(Cut::Bytes);
            } else if self.items.len() == MAX_ITEMS {
                self.cut = Some(Cut::Items);
            }
            if self.cut.is_some() {
                return None;
            }
            self.items.push(item);
        }
        let next = next?;
        if !self.cursors.insert(self.hasher.hash_one(&next)) {
            self.cut = Some(Cut::RepeatedCursor);
        } else if self.count == MAX_PAGES {
            self.cut = Some(Cut::Pages);
        }
        self.cut.is_none().then_some(next)
    }

    fn finish(mut self) -> Listed<P::Item> {
        if self.cut == Some(Cut::RepeatedCursor) {
            // The server sent a page more than once.
            let mut seen = HashSet::new();
            let hasher = &self.hasher;
            self.items
                .retain(|item| seen.insert(hasher.hash_one(P::key(item))));
        }
        Listed {
            items: self.items,
            ttl: self.ttl,
            cut: self.cut,
        }
    }
}

/// Bytes that a parsed item takes in memory, roughly: its text, and a part for each value in it.
fn weight<T: Serialize>(item: &T) -> usize {
    let mut nodes = Nodes::default();
    let mut bytes = Bytes::default();
    let mut serializer = Serializer::with_formatter(&mut bytes, &mut nodes);
    // Parsed from JSON, so that it can be written as JSON.
    let _ = item.serialize(&mut serializer);
    size_of::<T>()
        .saturating_add(bytes.0)
        .saturating_add(nodes.0)
}

#[derive(Default)]
struct Bytes(usize);

impl io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the bytes of the containers' entries.
#[derive(Default)]
struct Nodes(usize);

impl Formatter for &mut Nodes {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        self.0 += size_of::<serde_json::Value>();
        Ok(())
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        /// A value, its name, and its share of the map.
        const ENTRY: usize = 3 * size_of::<serde_json::Value>();
        self.0 += ENTRY;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(names: &[&str], next: Option<&str>) -> ListToolsResult {
        let tools = names
            .iter()
            .map(|name| Tool::new((*name).to_owned(), "", serde_json::Map::new()));
        let mut page = ListToolsResult::with_all_items(tools.collect());
        page.next_cursor = next.map(Into::into);
        page
    }

    /// Adds what `pages` gives by number until the list ends.
    fn list(pages: impl Fn(usize) -> ListToolsResult) -> (usize, Listed<Tool>) {
        let mut list = Pages::<ListToolsResult>::default();
        for number in 0.. {
            if list.add(pages(number)).is_none() {
                return (number + 1, list.finish());
            }
        }
        unreachable!("a list ends")
    }

    fn names(listed: &Listed<Tool>) -> Vec<&str> {
        listed.items.iter().map(|tool| &*tool.name).collect()
    }

    #[test]
    fn a_repeated_cursor_ends_the_list_and_its_items_are_listed_once() {
        let (pages, listed) = list(|_| page(&["a", "b"], Some("2")));
        assert_eq!((pages, listed.cut), (2, Some(Cut::RepeatedCursor)));
        assert_eq!(names(&listed), ["a", "b"]);
    }

    #[test]
    fn cursors_that_take_turns_end_the_list_too() {
        let (pages, listed) = list(|number| match number % 2 {
            0 => page(&["a"], Some("odd")),
            _ => page(&["b"], Some("even")),
        });
        assert_eq!((pages, listed.cut), (3, Some(Cut::RepeatedCursor)));
        assert_eq!(names(&listed), ["a", "b"]);
    }

    #[test]
    fn an_empty_cursor_is_a_cursor() {
        let (pages, listed) = list(|number| match number {
            0 => page(&["first"], Some("")),
            _ => page(&["second"], None),
        });
        assert_eq!((pages, listed.cut), (2, None));
        assert_eq!(names(&listed), ["first", "second"]);
    }

    #[test]
    fn two_items_of_one_name_are_kept_in_a_list_that_is_whole() {
        let (_, listed) = list(|_| page(&["a", "a"], None));
        assert_eq!((names(&listed), listed.cut), (vec!["a", "a"], None));
    }

    #[test]
    fn pages_and_items_are_bounded() {
        let (pages, listed) = list(|number| page(&[], Some(&number.to_string())));
        assert_eq!((pages, listed.cut), (MAX_PAGES, Some(Cut::Pages)));
        let hundred = ["a"; 100];
        let (pages, listed) = list(|number| page(&hundred, Some(&number.to_string())));
        assert_eq!((pages, listed.cut), (101, Some(Cut::Items)));
        assert_eq!(listed.items.len(), MAX_ITEMS);
    }

    #[test]
    fn the_parsed_form_is_bounded() {
        // 3 bytes each on the wire, and some fifty in memory.
        let nested = vec![serde_json::json!([]); 100_000];
        let schema = serde_json::Map::from_iter([("x".to_owned(), nested.into())]);
        let tool = Tool::new("a", "", schema);
        let wire = serde_json::to_vec(&tool).unwrap().len();
        assert!(weight(&tool) > 10 * wire, "{} of {wire}", weight(&tool));
        let (_, listed) = list(|number| {
            let mut page = page(&[], Some(&number.to_string()));
            page.tools = vec![tool.clone()];
            page
        });
        assert_eq!(listed.cut, Some(Cut::Bytes));
        assert!(listed.items.len() < MAX_BYTES / (100_000 * size_of::<serde_json::Value>()));
    }

    #[test]
    fn the_shortest_time_holds_for_all_pages() {
        let (_, listed) = list(|number| {
            let mut page = page(&["a"], (number < 2).then_some(["1", "2"][number.min(1)]));
            page.ttl_ms = [Some(9_000), Some(3_000), None][number];
            page
        });
        assert_eq!(listed.ttl, Some(Duration::from_secs(3)));
    }
}
