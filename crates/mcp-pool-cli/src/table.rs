//! Tables: columns with two blanks between, and no lines, so that they can be searched and cut.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with this head. The last column is wrapped at the width of the terminal.
pub(crate) fn of<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head);
    if table.width().is_none() {
        table.set_width(80);
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let lines = text.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}
