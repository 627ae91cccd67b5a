//! The command line, and what it leads to: secrets from their files, the socket with its mode.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use rustix::fs::Mode;
use zeroize::Zeroizing;

use crate::exchange::{Patience, SharedSecret};
use crate::packet::Nas;

/// The port of RADIUS authentication (RFC 2865 §3).
const PORT: u16 = 1812;

/// Longer than any secret that a server takes.
const MAX_SECRET_BYTES: usize = 1024;

/// Everybody but the owner.
const OTHERS: u32 = 0o077;

/// Answers Quintain's logins by asking RADIUS servers (RFC 2865): CHAP with MD5.
///
/// Every request carries a Message-Authenticator and every reply must: a server that sends none is not believed.
#[derive(Debug, Parser)]
#[command(name = "quintain-auth-radius", version, after_long_help = EXAMPLE)]
pub(crate) struct Settings {
    /// The Unix socket to listen on; the name that Quintain has as auth_helper. Made with mode 0600.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,

    /// A RADIUS server: an address, with a port where it is not 1812. Once for each, in the order they are asked.
    #[arg(long = "server", value_name = "ADDRESS[:PORT]", required = true, value_parser = parse_server)]
    pub(crate) servers: Vec<SocketAddr>,

    /// The file with the secret shared with the servers, which only its owner may read. Once for all servers, or once for
    /// each in their order.
    #[arg(long = "secret-file", value_name = "FILE", required = true)]
    pub(crate) secret_files: Vec<PathBuf>,

    /// NAS-Identifier: how the servers know this helper.
    #[arg(long, value_name = "TEXT", default_value = "quintain", value_parser = parse_identifier)]
    pub(crate) nas_identifier: String,

    /// NAS-IP-Address or NAS-IPv6-Address, for servers that want one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) nas_ip: Option<IpAddr>,

    /// Milliseconds until a request without a reply is sent again.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) interval_ms: u64,

    /// How many times a request is sent to one server.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) tries: u32,
}

const EXAMPLE: &str = "Interval, times tries, times servers should stay below Quintain's auth_helper_timeout_ms (5000): later answers find nobody.

Example:
  quintain-auth-radius --socket /run/quintain/radius.sock \\
    --server 192.0.2.10 --server 192.0.2.11 --secret-file /etc/quintain/radius.secret";

impl Settings {
    pub(crate) fn nas(&self) -> Nas {
        Nas {
            identifier: self.nas_identifier.clone(),
            address: self.nas_ip,
        }
    }

    pub(crate) const fn patience(&self) -> Patience {
        Patience {
            interval: Duration::from_millis(self.interval_ms),
            tries: self.tries,
        }
    }

    /// One secret for each server.
    ///
    /// # Errors
    /// The number of files does not fit, or one of them.
    pub(crate) fn secrets(&self) -> Result<Vec<SharedSecret>, String> {
        let secrets: Vec<_> = self
            .secret_files
            .iter()
            .map(|path| read_secret(path))
            .collect::<Result<_, _>>()?;
        match &*secrets {
            [one] => Ok(vec![one.clone(); self.servers.len()]),
            each if each.len() == self.servers.len() => Ok(secrets),
            each => Err(format!(
                "{} secret files for {} servers; name one for all, or one for each",
                each.len(),
                self.servers.len()
            )),
        }
    }
}

/// Whatever this process makes from now on is its owner's alone: the socket is never there with another mode.
pub(crate) fn keep_to_the_owner() {
    rustix::process::umask(Mode::from_raw_mode(0o177));
}

/// Listens where nobody else does. What a killed helper has left behind is replaced.
///
/// # Errors
/// Somebody listens there, or it cannot be done.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    let bind = || UnixListener::bind(path);
    let listener = match bind() {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let is_socket =
                std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if !is_socket {
                return Err(format!(
                    "{shown}: a file of another kind is there; remove it, or name another path"
                ));
            }
            let nobody = UnixStream::connect(path)
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            if !nobody {
                return Err(format!("{shown}: another program listens there"));
            }
            std::fs::remove_file(path).and_then(|()| bind())
        }
        other => other,
    };
    listener.map_err(|error| format!("{shown}: cannot listen there: {error}"))
}

/// The whole file but for one line break at its end.
fn read_secret(path: &Path) -> Result<SharedSecret, String> {
    let shown = path.display();
    let fails =
        |error: std::io::Error| format!("{shown}: the shared secret cannot be read: {error}");
    let file = File::open(path).map_err(fails)?;
    let found = file.metadata().map_err(fails)?;
    let mode = found.permissions().mode();
    if found.is_file() && mode & OTHERS != 0 {
        return Err(format!(
            "{shown}: others may read the shared secret (mode {:04o}); chmod 600 keeps it to you",
            mode & 0o7777
        ));
    }
    // Room from the start: a vector that grows leaves copies behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 4));
    let most = u64::try_from(MAX_SECRET_BYTES + 3).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut secret).map_err(fails)?;
    for end in [b"\r\n".as_slice(), b"\n"] {
        if secret.ends_with(end) {
            let length = secret.len().saturating_sub(end.len());
            secret.truncate(length);
            break;
        }
    }
    if secret.is_empty() {
        return Err(format!("{shown}: the shared secret is empty"));
    }
    if secret.len() > MAX_SECRET_BYTES {
        return Err(format!(
            "{shown}: longer than {MAX_SECRET_BYTES} bytes; the file holds the shared secret and nothing else"
        ));
    }
    Ok(secret)
}

fn parse_server(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| {
            let bare = text
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            let address: Result<IpAddr, _> = bare.unwrap_or(text).parse();
            address.map(|address| (address, PORT).into())
        })
        .map_err(|_| "not an address such as 192.0.2.1, 192.0.2.1:1812 or [2001:db8::1]:1812; names are not looked up".to_owned())
}

fn parse_identifier(text: &str) -> Result<String, String> {
    if (1..=253).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("1 to 253 bytes".to_owned())
    }
}

#[cfg(test)]
mod tests;
