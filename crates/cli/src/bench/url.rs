//! `iscsi://HOST[:PORT]/TARGET/LUN`, as libiscsi and QEMU write it.

use anyhow::{Context, Result, bail, ensure};
use iscsi_wire::{IscsiName, Lun64};

const SCHEME: &str = "iscsi://";
/// RFC 7143 §4.1: the well-known port of a target.
const DEFAULT_PORT: u16 = 3260;
/// SAM-5 r21 "Flat space addressing": 14 bits.
const MOST_LUNS: u16 = 1 << 14;

/// A logical unit and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) target: String,
    pub(super) lun: u16,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, and how it should look.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::read(text).with_context(|| {
            format!("{text}: not a URL of a logical unit; write it as iscsi://127.0.0.1:3260/iqn.2026-11.org.example:disk/0")
        })
    }

    fn read(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix(SCHEME)
            .context("it does not begin with iscsi://")?;
        let mut parts = rest.split('/');
        let (Some(portal), Some(target), Some(lun), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("it has not three parts");
        };
        // What stands in a command line can be read by every process of the machine.
        ensure!(
            !portal.contains(['@', '%']),
            "a user and a secret have no place in it: --chap USER --chap-secret-file FILE"
        );
        let (host, port) = host_and_port(portal)?;
        let target = IscsiName::parse(target).ok().context("no iSCSI name")?;
        let lun = lun
            .parse()
            .ok()
            .filter(|lun| *lun < MOST_LUNS)
            .with_context(|| format!("LUN {lun}: a number below {MOST_LUNS}"))?;
        Ok(Self {
            host,
            port,
            target: target.to_string(),
            lun,
        })
    }

    /// SAM-5 r21 "Peripheral device addressing" up to 255, "Flat space addressing" beyond.
    pub(super) fn lun64(&self) -> Lun64 {
        let lun = u64::from(self.lun);
        let flat = if self.lun < 256 { 0 } else { 0x4000 };
        Lun64((lun | flat) << 48)
    }
}

fn host_and_port(portal: &str) -> Result<(String, u16)> {
    let (host, port) = match portal.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').context("a bracket is not closed")?;
            let port = match port {
                "" => None,
                port => Some(
                    port.strip_prefix(':')
                        .context("no port behind the bracket")?,
                ),
            };
            (host, port)
        }
        None => match portal.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (portal, None),
        },
    };
    ensure!(!host.is_empty(), "it names no host");
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .with_context(|| format!("port {port}"))?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IQN: &str = "iqn.2026-11.org.example:disk";

    #[test]
    fn parse_of_each_form_of_a_portal_has_host_and_port() {
        for (portal, host, port) in [
            ("127.0.0.1:3261", "127.0.0.1", 3261),
            ("san.example.org", "san.example.org", 3260),
            ("[::1]:860", "::1", 860),
            ("[fe80::1]", "fe80::1", 3260),
        ] {
            let url = Url::parse(&format!("iscsi://{portal}/{IQN}/7")).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.lun), (host, port, 7));
            assert_eq!(url.target, IQN);
        }
    }

    #[test]
    fn parse_of_anything_else_says_what_is_wrong_and_how_to_write_it() {
        for (text, wrong) in [
            ("http://127.0.0.1/x/0", "iscsi://"),
            (
                "iscsi://127.0.0.1/iqn.2026-11.org.example:disk",
                "three parts",
            ),
            (
                "iscsi://127.0.0.1/iqn.2026-11.org.example:disk/0/1",
                "three parts",
            ),
            ("iscsi://127.0.0.1/disk/0", "no iSCSI name"),
            ("iscsi:///iqn.2026-11.org.example:disk/0", "no host"),
            ("iscsi://h:0/iqn.2026-11.org.example:disk/0", "port 0"),
            ("iscsi://h:http/iqn.2026-11.org.example:disk/0", "port http"),
            ("iscsi://[::1/iqn.2026-11.org.example:disk/0", "bracket"),
            ("iscsi://[::1]860/iqn.2026-11.org.example:disk/0", "bracket"),
            ("iscsi://h/iqn.2026-11.org.example:disk/16384", "LUN 16384"),
            ("iscsi://h/iqn.2026-11.org.example:disk/-1", "LUN -1"),
            (
                "iscsi://u%s@h/iqn.2026-11.org.example:disk/0",
                "--chap-secret-file",
            ),
        ] {
            let error = format!("{:#}", Url::parse(text).unwrap_err());
            assert!(error.starts_with(text) && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn lun64_of_a_small_and_a_large_number_uses_its_addressing() {
        let with = |lun| {
            Url::parse(&format!("iscsi://h/{IQN}/{lun}"))
                .unwrap()
                .lun64()
        };
        assert_eq!(with(255), Lun64(0x00ff << 48));
        assert_eq!(with(256), Lun64(0x4100 << 48));
        assert_eq!(with(16383), Lun64(0x7fff << 48));
    }
}
