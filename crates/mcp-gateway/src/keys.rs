//! The keys with which the gateway seals what clients keep for it.
//!
//! What is sealed can be read and made by the holders of a key alone, so that clients can carry a session's state without
//! a store. The first key seals, all open: a key is rotated by putting another before it.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};

use crate::error::Error;

const KEY: usize = 32;
const ID: usize = 4;
const NONCE: usize = 24;

/// Keys that seal session ids and request states. At least one.
#[derive(Clone)]
pub struct Keys(Vec<SealingKey>);

#[derive(Clone)]
struct SealingKey {
    id: [u8; ID],
    cipher: XChaCha20Poly1305,
}

impl Keys {
    /// A key that ends with this process: after a restart, clients have to initialize again.
    ///
    /// # Panics
    /// Where the system has no random numbers.
    #[must_use]
    pub fn random() -> Self {
        Self(vec![SealingKey::new(random())])
    }

    /// These keys of 32 bytes each: the first seals, all open. `None` without one.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = [u8; KEY]>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(SealingKey::new).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The keys in a file, one of 32 bytes in base64 on each line. A file that does not exist is made with one key, for its
    /// owner alone (mode 0600).
    ///
    /// # Errors
    /// [`Error::KeyFile`] for a file that cannot be read or made, holds something else, or may be read by others.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |source| Error::KeyFile {
            path: PathBuf::from(path),
            source,
        };
        match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match make(path) {
                    // Another process was quicker.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    made => made.map_err(failed)?,
                }
                read(path).map_err(failed)
            }
            keys => keys.map_err(failed),
        }
    }

    /// Seals `content` for one `purpose`: it opens for no other.
    pub(crate) fn seal(&self, purpose: &str, content: &[u8]) -> String {
        let (key, nonce) = (&self.0[0], random::<NONCE>());
        let payload = Payload {
            msg: content,
            aad: purpose.as_bytes(),
        };
        let sealed = key.cipher.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.expect("content is much shorter than 256 GiB");
        BASE64_URL_SAFE_NO_PAD.encode([&key.id[..], &nonce, &sealed].concat())
    }

    /// What was sealed for this purpose by one of these keys.
    pub(crate) fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (id, sealed) = sealed.split_at_checked(ID)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let payload = || Payload {
            msg: sealed,
            aad: purpose.as_bytes(),
        };
        let mut keys = self.0.iter().filter(|key| key.id == id);
        keys.find_map(|key| {
            key.cipher
                .decrypt(XNonce::from_slice(nonce), payload())
                .ok()
        })
    }
}

impl SealingKey {
    fn new(key: [u8; KEY]) -> Self {
        let [a, b, c, d, ..] = hash(&[b"key id", &key]);
        Self {
            id: [a, b, c, d],
            cipher: XChaCha20Poly1305::new(Key::from_slice(&key)),
        }
    }
}

/// A hash over parts, which are kept apart.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The beginning of a hash, as a name.
pub(crate) fn short(hash: &[u8; 32]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&hash[..16])
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn read(path: &Path) -> io::Result<Keys> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other("other users may read it"));
        }
    }
    let keys = fs::read_to_string(path)?;
    let keys = keys.lines().filter(|line| !line.trim().is_empty());
    let keys = keys.map(|line| BASE64_STANDARD.decode(line.trim()).ok()?.try_into().ok());
    let keys: Option<Vec<[u8; KEY]>> = keys.collect();
    keys.and_then(Keys::new)
        .ok_or_else(|| io::Error::other("not 32 bytes in base64 on each line"))
}

fn make(path: &Path) -> io::Result<()> {
    // Written elsewhere and linked, so that the file is never there in part.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let key = BASE64_STANDARD.encode(random::<KEY>());
    let made = options
        .open(&draft)
        .and_then(|mut file| writeln!(file, "{key}").and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&draft, path));
    // It has its name, or is of no use.
    let _ = fs::remove_file(&draft);
    made
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("count", &self.0.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_key_opens_what_it_sealed_and_seals_no_more() {
        let old = Keys::new([[1; 32]]).expect("a key");
        let sealed = old.seal("session", b"content");
        let rotated = Keys::new([[2; 32], [1; 32]]).expect("two keys");
        assert_eq!(
            rotated.open("session", &sealed).as_deref(),
            Some(&b"content"[..])
        );
        assert_eq!(old.open("session", &rotated.seal("session", b"more")), None);
    }

    #[test]
    fn nothing_opens_that_was_changed_or_sealed_for_another_purpose() {
        let keys = Keys::random();
        let sealed = keys.seal("session", b"content");
        assert_eq!(keys.open("state", &sealed), None);
        assert_eq!(keys.open("session", ""), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            // The last character may hold bits that mean nothing.
            assert!(
                changed == sealed || keys.open("session", &changed).is_none(),
                "at {at}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_key_file_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("mcp-gateway-keys-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("key");
        let sealed = Keys::from_file(&path)
            .expect("made")
            .seal("session", b"content");
        assert!(
            Keys::from_file(&path)
                .expect("read")
                .open("session", &sealed)
                .is_some()
        );
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        assert!(Keys::from_file(&path).is_err(), "others may read it");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
