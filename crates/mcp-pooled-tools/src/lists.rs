//! All pages of a list, within bounds.
//!
//! Tools, prompts, resources, resource templates and skills are listed by the same function on every kind of client. A
//! list ends at a cursor that the server has given before, at a number of pages or items, or at a size in memory. The
//! items that came by then are kept, and a warning says what ended the list. Items stay as the server wrote them.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    reply::Reply,
    request::{Members, Request, joined, with_member},
};

const MAX_PAGES: usize = 1_000;
const MAX_ITEMS: usize = 10_000;
/// Bytes of the parsed items, which may be ten times the bytes on the wire.
const MAX_BYTES: usize = 32 << 20;

/// Methods that list, the member of a page that holds the items, and what names an item on its server.
const LISTS: [(&str, &str, &str); 5] = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    (
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
    ),
    ("skills/list", "skills", "uri"),
];

/// Whether requests of this method return a page of a list.
pub(crate) fn is_list(method: &str) -> bool {
    LISTS.iter().any(|(lists, ..)| *lists == method)
}

/// A list, in the form of one page.
#[derive(Debug)]
pub(crate) struct Listed {
    reply: Reply,
    items: usize,
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

impl Listed {
    /// The list, with a warning if it is not whole.
    pub(crate) fn warned(self, server: Option<&str>, method: &str) -> Reply {
        if let Some(cut) = self.cut {
            let kept = self.items;
            tracing::warn!(
                server,
                "{method}: list is incomplete, kept {kept} items: {cut}"
            );
            let why = format!("kept {kept} items: {cut}");
            return self.reply.cut(&why);
        }
        self.reply
    }
}

/// Requests page after page, until the last or a bound. A page that is none ends the list and is the reply.
///
/// # Cancel safety
/// May be dropped at any point; the server is notified of the page that is abandoned.
pub(crate) async fn all<E, F>(
    first: Request,
    mut send: impl FnMut(Request) -> F,
) -> Result<Listed, E>
where
    F: Future<Output = Result<Reply, E>>,
{
    #[derive(Serialize)]
    struct Next {
        cursor: String,
    }
    let list = LISTS.iter().find(|(method, ..)| *method == first.method());
    let (_, member, key) = *list.unwrap_or(&LISTS[0]);
    let mut pages = Pages::new(member, key);
    let mut request = first.clone();
    loop {
        let reply = send(request).await?;
        match pages.add(&reply) {
            Added::Next(cursor) => request = first.with_members(&["cursor"], &Next { cursor }),
            Added::Last => return Ok(pages.finish(reply)),
            Added::NoPage => {
                let (items, cut) = (0, None);
                return Ok(Listed { reply, items, cut });
            }
        }
    }
}

/// What a page means for the list.
enum Added {
    Next(String),
    Last,
    NoPage,
}

/// The pages that have come.
struct Pages {
    member: &'static str,
    key: &'static str,
    count: usize,
    items: Vec<Box<RawValue>>,
    bytes: usize,
    /// The shortest time that the server gave one of the pages, in milliseconds.
    ttl_ms: Option<u64>,
    cut: Option<Cut>,
    /// Hashes: a cursor may be as long as a message.
    cursors: HashSet<u64>,
    hasher: RandomState,
}

impl Pages {
    fn new(member: &'static str, key: &'static str) -> Self {
        Self {
            member,
            key,
            count: 0,
            items: Vec::new(),
            bytes: 0,
            ttl_ms: None,
            cut: None,
            cursors: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    fn add(&mut self, page: &Reply) -> Added {
        let Ok(members) = serde_json::from_str::<Members<'_>>(page.raw().get()) else {
            return Added::NoPage;
        };
        let items = members.get(self.member);
        let items =
            items.and_then(|items| serde_json::from_str::<Vec<&RawValue>>(items.get()).ok());
        let Some(items) = items else {
            return Added::NoPage;
        };
        self.count += 1;
        let ttl = members.parse::<u64>("ttlMs");
        self.ttl_ms = self.ttl_ms.into_iter().chain(ttl).min();
        for item in items {
            self.bytes = self.bytes.saturating_add(weight(item.get()));
            if self.bytes > MAX_BYTES {
                self.cut = Some(Cut::Bytes);
            } else if self.items.len() == MAX_ITEMS {
                self.cut = Some(Cut::Items);
            }
            if self.cut.is_some() {
                return Added::Last;
            }
            self.items.push(item.to_owned());
        }
        let Some(next) = members.parse::<String>("nextCursor") else {
            return Added::Last;
        };
        if !self.cursors.insert(self.hasher.hash_one(&next)) {
            self.cut = Some(Cut::RepeatedCursor);
        } else if self.count == MAX_PAGES {
            self.cut = Some(Cut::Pages);
        }
        match self.cut {
            Some(_) => Added::Last,
            None => Added::Next(next),
        }
    }

    /// The list in the form of its last page.
    fn finish(mut self, last: Reply) -> Listed {
        let whole = self.count == 1 && self.cut.is_none();
        if self.cut == Some(Cut::RepeatedCursor) {
            // The server sent a page more than once.
            let (mut seen, key) = (HashSet::new(), self.key);
            let hasher = &self.hasher;
            self.items.retain(|item| {
                let item: Members<'_> = serde_json::from_str(item.get()).unwrap_or_default();
                let name = item.get(key).map_or("", RawValue::get);
                seen.insert(hasher.hash_one(name))
            });
        }
        Listed {
            items: self.items.len(),
            cut: self.cut,
            reply: if whole { last } else { self.joined(last) },
        }
    }

    /// All items in one page. They are let go one by one, so that a large list is not in memory twice.
    fn joined(self, last: Reply) -> Reply {
        let members: Members<'_> = serde_json::from_str(last.raw().get()).unwrap_or_default();
        let mut rest = members.without(&[self.member, "nextCursor", "ttlMs"]);
        if let Some(ttl_ms) = self.ttl_ms {
            rest = joined(&rest, &with_member("ttlMs", &ttl_ms));
        }
        drop(last);
        let head = joined(&rest, &with_member(self.member, &Vec::<()>::new()));
        let head = head.get().strip_suffix("]}").unwrap_or_default();
        let size: usize = self.items.iter().map(|item| item.get().len() + 1).sum();
        let mut page = String::with_capacity(head.len() + size + 2);
        page.push_str(head);
        for (number, item) in self.items.into_iter().enumerate() {
            if number > 0 {
                page.push(',');
            }
            page.push_str(item.get());
        }
        page.push_str("]}");
        Reply::new(RawValue::from_string(page).expect("items of a list make a list"))
    }
}

/// Bytes that a parsed item takes in memory, roughly: its text, and a part for each value in it.
fn weight(json: &str) -> usize {
    const VALUE: usize = size_of::<serde_json::Value>();
    /// More of a member of an object: its name, and its share of the map.
    const NAME: usize = 2 * VALUE;
    let (mut values, mut names, mut in_string, mut escaped) = (0, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            // A container is itself a value, and each comma parts two.
            b',' | b'{' | b'[' if !in_string => values += 1,
            b':' if !in_string => names += 1,
            _ => {}
        }
    }
    json.len()
        .saturating_add(VALUE.saturating_mul(values))
        .saturating_add(NAME.saturating_mul(names))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(names: &[&str], next: Option<&str>) -> Value {
        let tools: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        match next {
            Some(next) => json!({"tools": tools, "nextCursor": next}),
            None => json!({"tools": tools}),
        }
    }

    /// Adds what `pages` gives by number until the list ends.
    fn list(pages: impl Fn(usize) -> Value) -> (usize, Listed) {
        let mut list = Pages::new("tools", "name");
        for number in 0.. {
            let reply = Reply::typed(&pages(number));
            if matches!(list.add(&reply), Added::Last) {
                return (number + 1, list.finish(reply));
            }
        }
        unreachable!("a list ends")
    }

    fn names(listed: &Listed) -> Vec<String> {
        let list: Value = serde_json::from_str(listed.reply.raw().get()).unwrap();
        let tools = list["tools"].as_array().unwrap();
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
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
        assert_eq!(
            (names(&listed), listed.cut),
            (vec!["a".to_owned(); 2], None)
        );
    }

    #[test]
    fn pages_and_items_are_bounded() {
        let (pages, listed) = list(|number| page(&[], Some(&number.to_string())));
        assert_eq!((pages, listed.cut), (MAX_PAGES, Some(Cut::Pages)));
        let hundred = ["a"; 100];
        let (pages, listed) = list(|number| page(&hundred, Some(&number.to_string())));
        assert_eq!((pages, listed.cut), (101, Some(Cut::Items)));
        assert_eq!(listed.items, MAX_ITEMS);
    }

    #[test]
    fn the_parsed_form_is_bounded() {
        // 3 bytes each on the wire, and some fifty in memory.
        let nested = vec![json!([]); 100_000];
        let tool = json!({"name": "a", "inputSchema": {"x": nested}});
        let wire = tool.to_string();
        let heavy = weight(&wire);
        assert!(heavy > 10 * wire.len(), "{heavy} of {}", wire.len());
        let (_, listed) = list(|number| {
            let mut page = page(&[], Some(&number.to_string()));
            page["tools"] = json!([tool]);
            page
        });
        assert_eq!(listed.cut, Some(Cut::Bytes));
        assert!(listed.items < MAX_BYTES / (100_000 * size_of::<Value>()));
    }

    #[test]
    fn the_shortest_time_holds_for_all_pages_and_what_else_a_page_says_is_kept() {
        let (_, listed) = list(|number| {
            let mut page = page(&["a"], (number < 2).then_some(["1", "2"][number.min(1)]));
            page["ttlMs"] = json!([Some(9_000), Some(3_000), None][number]);
            page["odd"] = json!({"a": 1});
            page
        });
        let list: Value = serde_json::from_str(listed.reply.raw().get()).unwrap();
        assert_eq!(
            (&list["ttlMs"], &list["odd"]),
            (&json!(3_000), &json!({"a": 1}))
        );
        assert_eq!((listed.items, list.get("nextCursor")), (3, None));
    }
}
