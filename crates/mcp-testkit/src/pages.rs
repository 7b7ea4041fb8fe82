//! Pagination of lists.

use rmcp::{ErrorData, model::PaginatedRequestParams};

use crate::Paging;

/// The page a client asks for, and the cursor of the next.
///
/// # Errors
///
/// Invalid params for a cursor this server never gave out.
pub(crate) fn page<T: Clone>(
    items: &[T],
    paging: Paging,
    request: Option<PaginatedRequestParams>,
) -> Result<(Vec<T>, Option<String>), ErrorData> {
    if paging == Paging::Looping {
        return Ok((items.to_vec(), Some(format!("{CURSOR_PREFIX}start"))));
    }
    let size = match paging {
        Paging::One | Paging::Looping => items.len(),
        Paging::Size(size) => size,
        Paging::Pages(pages) => items.len().div_ceil(pages.max(1)),
    }
    .max(1);
    let cursor = request.and_then(|request| request.cursor);
    let start = match &cursor {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(CURSOR_PREFIX)
            .and_then(|start| start.parse().ok())
            .filter(|start| *start < items.len())
            .ok_or_else(|| ErrorData::invalid_params(format!("no such cursor: {cursor}"), None))?,
    };
    let end = items.len().min(start + size);
    let next = (end < items.len()).then(|| format!("{CURSOR_PREFIX}{end}"));
    Ok((items[start..end].to_vec(), next))
}

const CURSOR_PREFIX: &str = "from-";

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(paging: Paging) -> Vec<Vec<u8>> {
        let items: Vec<u8> = (0..12).collect();
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let request = PaginatedRequestParams::default().with_cursor(cursor);
            let (items, next) = page(&items, paging, Some(request)).unwrap();
            pages.push(items);
            cursor = next;
            if cursor.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn the_pages_hold_everything_once_and_in_order() {
        for (paging, pages) in [
            (Paging::One, 1),
            (Paging::Size(5), 3),
            (Paging::Pages(4), 4),
            (Paging::Pages(0), 1),
            (Paging::Size(0), 12),
        ] {
            let walked = walk(paging);
            assert_eq!(walked.len(), pages, "{paging:?}");
            assert_eq!(walked.concat(), (0..12).collect::<Vec<u8>>(), "{paging:?}");
        }
    }

    #[test]
    fn an_unknown_cursor_is_an_error_not_the_first_page() {
        let request = PaginatedRequestParams::default().with_cursor(Some("elsewhere".into()));
        assert!(page(&[1, 2, 3], Paging::Size(1), Some(request)).is_err());
    }

    #[test]
    fn an_empty_list_is_one_empty_page() {
        assert_eq!(page::<u8>(&[], Paging::Pages(3), None), Ok((vec![], None)));
    }
}
