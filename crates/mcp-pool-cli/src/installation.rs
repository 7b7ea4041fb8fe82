//! The record of a client that was pointed at the daemon, and the way back.
//!
//! The record holds the client's file as it was before and as it was left. While the file is as it was left, the way back
//! restores every byte. If it was edited since, our entry goes and the servers that were taken out come back, each with its
//! comments, and all else stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mcp_config::Document;
use serde::{Deserialize, Serialize};

use crate::{
    clients::{Client, ClientFile, is_ours},
    failure::Failure,
    folders::Folders,
    safe_write,
};

/// What `install` did to the file of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Installation {
    version: u32,
    pub(crate) client: Client,
    pub(crate) path: PathBuf,
    /// The file before; nothing if there was none.
    pub(crate) before: Option<String>,
    pub(crate) after: String,
    /// Servers that were taken out.
    pub(crate) removed: Vec<String>,
}

/// A client's file with the installation undone.
#[derive(Debug)]
pub(crate) struct Undone {
    /// The text; nothing if there was no file.
    pub(crate) text: Option<String>,
    /// Whether it is byte for byte what it was before.
    pub(crate) exact: bool,
    /// Servers that were put back into a file that was edited since.
    pub(crate) put_back: Vec<String>,
}

impl Installation {
    pub(crate) fn new(
        file: &ClientFile,
        before: Option<String>,
        after: &str,
        removed: Vec<String>,
    ) -> Self {
        Self {
            version: VERSION,
            client: file.client,
            path: file.path.clone(),
            before,
            after: after.to_owned(),
            removed,
        }
    }

    /// The record of a client, if it was pointed at the daemon.
    pub(crate) fn find(folders: &Folders, client: Client) -> Result<Option<Self>, Failure> {
        let path = record(folders, client);
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let unusable = |why: String| {
            Failure::internal(format!(
                "the record {} cannot be used: {why}",
                path.display()
            ))
            .fix("restore the client's file from the copy beside it, and remove the record")
        };
        let found: Self =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        match found.version {
            VERSION => Ok(Some(found)),
            other => Err(unusable(format!(
                "it has version {other}, this program knows {VERSION}"
            ))),
        }
    }

    pub(crate) fn write(&self, folders: &Folders) -> Result<(), Failure> {
        let text = serde_json::to_string(self).map_err(Failure::internal)?;
        safe_write::replace(&record(folders, self.client), &text)
    }

    /// Forgets the installation after it was undone. The copy beside the file goes, too.
    pub(crate) fn forget(&self, folders: &Folders) -> Result<(), Failure> {
        remove(&safe_write::backup_of(&self.path))?;
        self.forget_record(folders)
    }

    /// Forgets the installation, and leaves the copy beside the file.
    pub(crate) fn forget_record(&self, folders: &Folders) -> Result<(), Failure> {
        remove(&record(folders, self.client))
    }

    /// The client's file, which is like this now, without the installation.
    pub(crate) fn undone(&self, file: &ClientFile, now: &str) -> Result<Undone, Failure> {
        if now == self.after {
            return Ok(Undone {
                text: self.before.clone(),
                exact: true,
                put_back: Vec::new(),
            });
        }
        let mut document = Document::parse(&self.path, now).map_err(Failure::usage)?;
        take_us_out(&mut document, file)?;
        let before = self.before.clone().unwrap_or_default();
        let before = Document::parse(&self.path, before).map_err(Failure::usage)?;
        let mut put_back = Vec::new();
        for name in &self.removed {
            // A server of this name that was added since is the user's.
            if document.get(&file.at(name)).is_none() {
                document
                    .copy(&file.at(name), &before)
                    .map_err(Failure::usage)?;
                put_back.push(name.clone());
            }
        }
        Ok(Undone {
            text: Some(document.text().to_owned()),
            exact: false,
            put_back,
        })
    }
}

/// Takes every entry out that starts our bridge.
pub(crate) fn take_us_out(document: &mut Document, file: &ClientFile) -> Result<(), Failure> {
    let table = file.table();
    let ours = document.table(&table).filter(|(_, entry)| is_ours(entry));
    let ours: Vec<String> = ours.map(|(name, _)| name.to_owned()).collect();
    for name in ours {
        document.remove(&file.at(&name)).map_err(Failure::usage)?;
    }
    Ok(())
}

/// The text of a file, if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::usage(format!(
            "cannot read {}: {error}",
            path.display()
        ))),
    }
}

pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::usage(format!(
            "cannot remove {}: {error}",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn record(folders: &Folders, client: Client) -> PathBuf {
    folders
        .state
        .join(format!("installed/{}.json", client.name()))
}

const VERSION: u32 = 1;
