//! The keys a server runs with: configured ones, or, on loopback, its own kept in the data directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Expected, Minter, Verifier};
use crate::config::{Config, Secret, TokenKey};
use frontrow_wal::regular;

/// The secret that tokens of a development server are signed with; beside the data, mode 0600.
pub const DEV_SECRET_FILE: &str = "dev-token.secret";
/// The operator's key of a development server; beside the data, mode 0600.
pub const ADMIN_KEY_FILE: &str = "dev-admin.key";
/// What stands in a data directory where the bookings service was started before the server, for they share the keys: both files,
/// and what a crash leaves of making one.
pub(crate) const KEY_FILES: &[&str] = &[DEV_SECRET_FILE, ADMIN_KEY_FILE, "dev-token.new", "dev-admin.new"];
/// Hexadecimal digits of a key made here: 256 bits.
const KEY_DIGITS: usize = 64;

/// Why a server has no keys to run with.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file in the data directory.
    #[error("{}: {source}; check that the data directory exists and belongs to the server's user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what this server wrote.
    #[error("{} does not hold a key of this server; remove it, and a new one is made at the next start", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the file.
    #[error("{} can be read by others; remove it for a new one, or `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The configured public key is none. [`crate::config::load`] says so earlier.
    #[error("identity.eddsa_public_key_file holds no Ed25519 public key; correct the file")]
    NotEd25519,
}

/// What a server verifies, and on loopback makes, tokens and admin keys with.
#[derive(Debug)]
pub struct Keys {
    /// Believes users' tokens. Cheap to clone: one per core.
    pub verifier: Verifier,
    /// Makes tokens, in development mode only.
    pub minter: Option<Minter>,
    /// The operator's key.
    pub admin: AdminKey,
    /// Where the admin key was put if this server made it.
    pub admin_key_file: Option<PathBuf>,
}

impl Keys {
    /// The configured keys; what the configuration allows to be missing is made and kept in the data
    /// directory, so that tokens outlive a restart.
    pub fn open(config: &Config) -> Result<Self, KeysError> {
        let identity = &config.identity;
        let data = &config.server.data;
        let expected = Expected {
            issuer: identity.issuer.clone(),
            audience: identity.audience.clone(),
            leeway_s: identity.leeway.as_secs(),
        };
        let secret = match &identity.key {
            TokenKey::Dev => Some(own(&data.join(DEV_SECRET_FILE))?),
            TokenKey::Hs256(secret) => Some(secret.clone()),
            TokenKey::EdDsa(_) => None,
        };
        let minter =
            secret.as_ref().filter(|_| identity.dev).map(|secret| Minter::new(secret.bytes(), &expected));
        let verifier = match (&identity.key, &secret) {
            (TokenKey::EdDsa(pem), _) => Verifier::eddsa(pem, expected).ok_or(KeysError::NotEd25519)?,
            (_, Some(secret)) => Verifier::hs256(secret.bytes(), expected),
            (_, None) => unreachable!("every kind of key but EdDSA has a secret, just above"),
        };
        let (admin, admin_key_file) = if let Some(key) = &config.admin.key {
            (key.clone(), None)
        } else {
            let path = data.join(ADMIN_KEY_FILE);
            (own(&path)?, Some(path))
        };
        Ok(Self { verifier, minter, admin: AdminKey(admin), admin_key_file })
    }
}

/// The operator's key.
#[derive(Clone, Debug)]
pub struct AdminKey(Secret);

impl AdminKey {
    /// Takes a key.
    pub fn new(key: Secret) -> Self {
        Self(key)
    }

    /// Whether `given` is the key. Takes the same time wherever the first difference is.
    pub fn matches(&self, given: &[u8]) -> bool {
        let key = self.0.bytes();
        let mut difference = u8::from(key.len() != given.len());
        for (i, byte) in key.iter().enumerate() {
            difference |= byte ^ given.get(i).copied().unwrap_or(!byte);
        }
        std::hint::black_box(difference) == 0
    }
}

/// Reads the key this server made at an earlier start, or makes one.
fn own(path: &Path) -> Result<Secret, KeysError> {
    let failed = |source| KeysError::File { path: path.to_path_buf(), source };
    match regular::open(path) {
        Ok(mut file) => {
            if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
                return Err(KeysError::Exposed { path: path.to_path_buf() });
            }
            let mut text = Vec::new();
            (&mut file).take(2 * KEY_DIGITS as u64).read_to_end(&mut text).map_err(failed)?;
            let text = text.trim_ascii();
            if text.len() != KEY_DIGITS || !text.iter().all(u8::is_ascii_hexdigit) {
                return Err(KeysError::Damaged { path: path.to_path_buf() });
            }
            Ok(Secret::new(text.to_vec()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn make(path: &Path) -> std::io::Result<Secret> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut random = [0_u8; KEY_DIGITS / 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let text: String = random.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    // Written whole under another name first: a crash must not leave half a key.
    let partial = path.with_extension("new");
    let mut file = regular::create_with(&partial, OpenOptions::new().write(true).mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(Secret::new(text.into_bytes()))
}
