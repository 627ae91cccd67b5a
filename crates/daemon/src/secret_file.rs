//! CHAP secrets come from files: what stands in a command line can be read by every process of the machine.
//!
//! One reader for all of them: what `check` takes, the daemon takes, and both read the same bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use auth::Secret;
use model::{ConfigCode, Desired, FileError};

/// What `chap.secret` may hold, and the most that any initiator is known to take (ESXi).
const MOST_BYTES: usize = 255;
/// Read permission for others.
const OTHERS_READ: u32 = 0o004;
/// Permissions that only the owner may have, where a file names the secret's.
const OTHERS: u32 = 0o077;

/// A secret as its file holds it, and what the operator should hear about it.
pub struct SecretFile {
    /// The secret.
    pub secret: Vec<u8>,
    /// The file ends with a line break, which is not part of the secret.
    pub has_line_end: bool,
    /// What the operator should hear.
    pub notes: Vec<String>,
}

impl fmt::Debug for SecretFile {
    /// Does not show the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("has_line_end", &self.has_line_end)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// Why there is no secret: names the file, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFileError(String);

impl fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SecretFileError {}

impl SecretFile {
    /// Reads the secret: the whole file but for one line break at its end.
    ///
    /// # Errors
    /// It cannot be read, is empty or far too long.
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        let refuse = |text: String| Err(SecretFileError(text));
        let shown = path.display();
        let mut secret = match read_at_most(path, MOST_BYTES + LINE_END_BYTES + 1) {
            Ok(secret) => secret,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return refuse(format!(
                    "{shown}: there is no such file; write the CHAP secret into it, and nothing else"
                ));
            }
            Err(error) => {
                return refuse(format!(
                    "{shown}: the CHAP secret cannot be read: {error}; name a file that holds it"
                ));
            }
        };
        let has_line_end = strip_line_end(&mut secret);
        if secret.is_empty() {
            return refuse(format!(
                "{shown}: the CHAP secret is empty; write at least 12 bytes into that file"
            ));
        }
        if secret.len() > MOST_BYTES {
            return refuse(format!(
                "{shown}: longer than {MOST_BYTES} bytes; name a file that holds the CHAP secret and nothing else"
            ));
        }
        let mut notes = Vec::new();
        // RFC 7143 §9.2.1: a secret of less than 96 bits is not to be used without IPsec. Who protects the network some
        // other way may decide, so it is told and not refused.
        if Secret::new(secret.clone()).is_short() {
            notes.push(format!("{shown}: the CHAP secret has less than 12 bytes and can be guessed; use a longer one"));
        }
        if others_can_read(path) {
            notes.push(format!("{shown}: every user of this machine can read the CHAP secret; chmod 600 keeps it to you"));
        }
        Ok(Self {
            secret,
            has_line_end,
            notes,
        })
    }
}

/// Reads the secrets that a desired state names by their files, and puts them in their places. Others have read a secret that
/// they may read: it is refused.
///
/// # Errors
/// Each that cannot be had, at the line that names it.
pub fn fill_secrets(mut desired: Desired) -> Result<Desired, Vec<FileError>> {
    let mut mistakes = Vec::new();
    for (index, file) in desired.secrets.clone().into_iter().enumerate() {
        match read_private(&file.path) {
            Ok(secret) => desired.fill(index, secret),
            Err(reason) => mistakes.push(FileError {
                line: Some(file.line),
                column: None,
                path: None,
                code: ConfigCode::BadValue,
                reason: format!("{}: {reason}", file.attribute),
                hint: "name a file that holds the secret and nothing else, and that only its owner may read"
                    .to_owned(),
            }),
        }
    }
    if mistakes.is_empty() {
        Ok(desired)
    } else {
        Err(mistakes)
    }
}

fn read_private(path: &Path) -> Result<Secret, SecretFileError> {
    let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & OTHERS != 0 {
        return Err(SecretFileError(format!(
            "{}: others may read or write the secret (mode {mode:04o}): chmod 600 keeps it to its owner",
            path.display()
        )));
    }
    SecretFile::read(path).map(|file| Secret::new(file.secret))
}

/// `\r\n`.
const LINE_END_BYTES: usize = 2;

/// Never more than `most` bytes, whatever the path names: it may be a pipe or a device.
fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn strip_line_end(bytes: &mut Vec<u8>) -> bool {
    let end = if bytes.ends_with(b"\r\n") {
        2
    } else {
        usize::from(bytes.ends_with(b"\n"))
    };
    bytes.truncate(bytes.len() - end);
    end > 0
}

fn others_can_read(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & OTHERS_READ != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn read(bytes: &[u8], mode: u32) -> Result<SecretFile, SecretFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chap.secret");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        SecretFile::read(&path)
    }

    #[test]
    fn read_takes_one_line_end_away_and_nothing_else() {
        let table: [(&[u8], &[u8], bool); 5] = [
            (b"a-secret-of-16-b", b"a-secret-of-16-b", false),
            (b"a-secret-of-16-b\n", b"a-secret-of-16-b", true),
            (b"a-secret-of-16-b\r\n", b"a-secret-of-16-b", true),
            (b" two line ends \n\n", b" two line ends \n", true),
            (b"\xff\x00binary-secret", b"\xff\x00binary-secret", false),
        ];
        for (bytes, secret, has_line_end) in table {
            let file = read(bytes, 0o600).unwrap();
            assert_eq!(
                (file.secret.as_slice(), file.has_line_end),
                (secret, has_line_end)
            );
            assert_eq!(file.notes, Vec::<String>::new());
        }
    }

    #[test]
    fn read_of_a_short_or_public_secret_is_noted() {
        let short = read(b"elevenbytes", 0o600).unwrap().notes;
        assert!(
            short.len() == 1 && short[0].contains("12 bytes"),
            "{short:?}"
        );
        let public = read(b"twelve-bytes", 0o644).unwrap().notes;
        assert!(
            public.len() == 1 && public[0].contains("chmod 600"),
            "{public:?}"
        );
        assert_eq!(read(b"elevenbytes\n", 0o604).unwrap().notes.len(), 2);
    }

    #[test]
    fn read_of_nothing_too_much_or_no_file_is_refused_by_name() {
        let long = vec![b'x'; MOST_BYTES + 1];
        for (bytes, word) in [
            (b"".as_slice(), "empty"),
            (b"\n", "empty"),
            (&long, "longer"),
        ] {
            let error = read(bytes, 0o600).unwrap_err().to_string();
            assert!(
                error.contains("chap.secret") && error.contains(word),
                "{error}"
            );
        }
        assert_eq!(read(&long[1..], 0o600).unwrap().secret.len(), MOST_BYTES);
        let error = SecretFile::read(Path::new("/nonexistent/secret"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such file"), "{error}");
        let error = SecretFile::read(Path::new("/")).unwrap_err().to_string();
        assert!(error.starts_with("/: "), "{error}");
        // Endless, and read all the same only as far as it matters.
        let error = SecretFile::read(Path::new("/dev/zero"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("longer"), "{error}");
    }
}
