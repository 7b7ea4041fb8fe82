//! Contents of results: text is written, and what is no text is saved to a file or named by its type and size.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{context::Context, failure::Failure, terminal};

/// Where contents go.
pub(crate) struct Contents<'a> {
    context: &'a Context,
    file: Option<&'a Path>,
    saved: usize,
}

impl<'a> Contents<'a> {
    /// What is no text is saved in `file`; further ones beside it, numbered.
    pub(crate) fn new(context: &'a Context, file: Option<&'a Path>) -> Self {
        Self {
            context,
            file,
            saved: 0,
        }
    }

    /// The result of a tool. Structured content is written once, though most tools repeat it as text.
    pub(crate) fn tool_result(&mut self, result: &Value) -> Result<(), Failure> {
        let structured = result.get("structuredContent").filter(|one| !one.is_null());
        let repeats = |item: &Value| {
            let text = item["text"].as_str();
            let json = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
            structured.is_some() && json.as_ref() == structured
        };
        let items = result["content"].as_array().into_iter().flatten();
        for item in items.filter(|item| !repeats(item)) {
            self.item(item)?;
        }
        if let Some(structured) = structured {
            terminal::write_text(&format!("{structured:#}"))?;
        }
        self.check_saved()
    }

    /// One content of a tool's result or of a prompt's message.
    pub(crate) fn item(&mut self, item: &Value) -> Result<(), Failure> {
        match item["type"].as_str() {
            Some("text") => terminal::write_text(item["text"].as_str().unwrap_or_default()),
            Some(kind @ ("image" | "audio")) => {
                let data = item["data"].as_str().unwrap_or_default();
                self.bytes(kind, item["mimeType"].as_str(), data)
            }
            Some("resource") => self.resource(&item["resource"]),
            Some("resource_link") => {
                let text = |key: &str| item[key].as_str().unwrap_or_default();
                let kind = item["mimeType"].as_str();
                let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
                let line = format!("[link to {}{kind}: {}]", text("uri"), text("name"));
                terminal::write_text(&line)
            }
            _ => terminal::write_text(&item.to_string()),
        }
    }

    /// The contents of a resource.
    pub(crate) fn resource(&mut self, contents: &Value) -> Result<(), Failure> {
        match (contents["text"].as_str(), contents["blob"].as_str()) {
            (Some(text), _) if self.file.is_none() => terminal::write_text(text),
            (Some(text), _) => self.save(text.as_bytes()),
            (None, Some(blob)) => {
                let uri = contents["uri"].as_str().unwrap_or("resource");
                self.bytes(uri, contents["mimeType"].as_str(), blob)
            }
            (None, None) => terminal::write_text(&contents.to_string()),
        }
    }

    /// Says on standard error that `-o` had nothing to save.
    pub(crate) fn check_saved(&self) -> Result<(), Failure> {
        if let Some(file) = self.file.filter(|_| self.saved == 0) {
            let nothing = format!("nothing was saved to {}: all of it is text", file.display());
            self.context.output.note(nothing);
        }
        Ok(())
    }

    fn bytes(&mut self, what: &str, kind: Option<&str>, data: &str) -> Result<(), Failure> {
        let kind = kind.unwrap_or("unknown type");
        let bytes = STANDARD
            .decode(data)
            .map_err(|error| Failure::internal(format!("{what}: no base64: {error}")))?;
        if self.file.is_some() {
            return self.save(&bytes);
        }
        let size = size(bytes.len());
        terminal::write_text(&format!("[{what}: {kind}, {size}; save it by -o FILE]"))
    }

    fn save(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(file) = self.file else { return Ok(()) };
        self.saved += 1;
        let path = numbered(file, self.saved);
        fs::write(&path, bytes)
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
        let saved = format!("saved {} to {}", size(bytes.len()), path.display());
        self.context.output.note(saved);
        Ok(())
    }
}

/// The first is the file itself, the second `name-2.png`.
fn numbered(file: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return file.to_owned();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let end = file
        .extension()
        .map(|end| format!(".{}", end.to_string_lossy()));
    file.with_file_name(format!("{stem}-{number}{}", end.unwrap_or_default()))
}

/// A size for people.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0 | 2..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_files_are_numbered_before_their_ending() {
        let path = |number| numbered(Path::new("a/plot.v1.png"), number);
        assert_eq!(path(1), Path::new("a/plot.v1.png"));
        assert_eq!(path(2), Path::new("a/plot.v1-2.png"));
        assert_eq!(numbered(Path::new("plot"), 3), Path::new("plot-3"));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [1, 3, 12_345, 3_500_000].map(size),
            ["1 byte", "3 bytes", "12.3 kB", "3.5 MB"]
        );
    }
}
