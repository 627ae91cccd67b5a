//! Addresses as text: a portal's `host:port`, and a TargetAddress with its portal group tag (RFC 7143 §13.8).

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::LoginStatus;

/// The TCP port where none is written (RFC 7143 §13.8).
pub const DEFAULT_PORT: u16 = 3260;

/// The part of an address before the port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A dotted IPv4 address, or an IPv6 address written in brackets.
    Ip(IpAddr),
    /// A DNS name, in lower case.
    Dns(String),
}

/// A network portal: host and TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortalAddress {
    /// Where.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

/// The value of a TargetAddress key (RFC 7143 §13.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetAddress {
    /// Host and port.
    pub portal: PortalAddress,
    /// The tag behind the comma. In a redirection it is not sent.
    pub portal_group_tag: Option<u16>,
}

/// Where a target has moved to, for one login or for all (RFC 7143 §11.13.5, status class 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redirection {
    /// Where the initiator shall log in instead.
    pub to: PortalAddress,
    /// Later logins go there too, without asking here again.
    pub permanent: bool,
}

impl Redirection {
    /// 0102h where it is permanent, else 0101h.
    #[must_use]
    pub const fn status(&self) -> LoginStatus {
        if self.permanent {
            LoginStatus::TARGET_MOVED_PERMANENTLY
        } else {
            LoginStatus::TARGET_MOVED_TEMPORARILY
        }
    }
}

/// What happened to the target, for people.
impl fmt::Display for Redirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.permanent {
            "permanently"
        } else {
            "temporarily"
        };
        write!(f, "moved {how} to {}", self.to)
    }
}

/// Why text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Nothing stands before the port.
    EmptyHost,
    /// It is no IPv4 address, no IPv6 address in brackets, and no DNS name.
    IllegalHost,
    /// The port is not a number from 1 to 65,535.
    IllegalPort,
    /// The portal group tag is not a number from 0 to 65,535.
    IllegalTag,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyHost => "address has no host",
            Self::IllegalHost => "host is no IPv4 address, IPv6 address in brackets, or DNS name",
            Self::IllegalPort => "port is not a number from 1 to 65535",
            Self::IllegalTag => "portal group tag is not a number from 0 to 65535",
        })
    }
}

impl core::error::Error for AddressError {}

impl PortalAddress {
    /// Reads `host` or `host:port`; without a port it is [`DEFAULT_PORT`].
    ///
    /// # Errors
    /// What is no host, or no port.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        Self::parse_with_default(text, DEFAULT_PORT)
    }

    /// Reads `host` or `host:port`; without a port it is `default_port`.
    ///
    /// # Errors
    /// What is no host, or no port.
    pub fn parse_with_default(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let (host, port) = split_host(text)?;
        let port = match port {
            None => default_port,
            Some(digits) => parse_u16(digits)
                .filter(|port| *port != 0)
                .ok_or(AddressError::IllegalPort)?,
        };
        Ok(Self { host, port })
    }
}

impl TargetAddress {
    /// Reads `host[:port][,tag]`.
    ///
    /// # Errors
    /// What is no portal, or no tag.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (portal, tag) = match text.split_once(',') {
            Some((portal, tag)) => (portal, Some(tag)),
            None => (text, None),
        };
        let portal_group_tag = tag
            .map(|tag| parse_u16(tag).ok_or(AddressError::IllegalTag))
            .transpose()?;
        Ok(Self {
            portal: PortalAddress::parse(portal)?,
            portal_group_tag,
        })
    }
}

impl From<SocketAddr> for PortalAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

/// RFC 7143 §13.8: an IPv6 address stands in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

/// The port is always written.
impl fmt::Display for PortalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.portal.fmt(f)?;
        self.portal_group_tag
            .map_or(Ok(()), |tag| write!(f, ",{tag}"))
    }
}

fn split_host(text: &str) -> Result<(Host, Option<&str>), AddressError> {
    let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']').ok_or(AddressError::IllegalHost)?;
        let address: Ipv6Addr = address.parse().map_err(|_| AddressError::IllegalHost)?;
        (Host::Ip(address.into()), rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, rest) = text.split_at(end);
        (parse_unbracketed(host)?, rest)
    };
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(AddressError::IllegalHost),
    }
}

fn parse_unbracketed(host: &str) -> Result<Host, AddressError> {
    if host.is_empty() {
        return Err(AddressError::EmptyHost);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(address.into()));
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let label_is_legal = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    // A name that ends in a number is a mistyped IPv4 address: no top-level domain is one.
    let numeric_end = labels
        .rsplit('.')
        .next()
        .is_some_and(|l| l.bytes().all(|c| c.is_ascii_digit()));
    if labels.len() > MAX_DNS_BYTES || numeric_end || !labels.split('.').all(label_is_legal) {
        return Err(AddressError::IllegalHost);
    }
    Ok(Host::Dns(host.to_ascii_lowercase()))
}

/// Decimal digits only: `u16::from_str` would take a plus sign.
fn parse_u16(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

const MAX_DNS_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn target_address_each_form_reads_and_prints() {
        let table = [
            ("10.0.0.1", "10.0.0.1:3260", None),
            ("10.0.0.1:5003,1", "10.0.0.1:5003,1", Some(1)),
            ("[2001:db8::1]", "[2001:db8::1]:3260", None),
            ("[::1]:3260,65535", "[::1]:3260,65535", Some(65535)),
            (
                "Storage.Example.com,0",
                "storage.example.com:3260,0",
                Some(0),
            ),
            (
                "computingcenter.example.com:2",
                "computingcenter.example.com:2",
                None,
            ),
        ];
        for (text, printed, tag) in table {
            let address =
                TargetAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), printed);
            assert_eq!(address.portal_group_tag, tag);
            assert_eq!(TargetAddress::parse(printed), Ok(address));
        }
    }

    #[test]
    fn target_address_malformed_gets_its_reason() {
        let table = [
            ("", AddressError::EmptyHost),
            (":3260", AddressError::EmptyHost),
            ("a b", AddressError::IllegalHost),
            ("a..b", AddressError::IllegalHost),
            ("999.0.0.1", AddressError::IllegalHost),
            ("10.0.0", AddressError::IllegalHost),
            ("[::1", AddressError::IllegalHost),
            ("[10.0.0.1]", AddressError::IllegalHost),
            ("[::1]3260", AddressError::IllegalHost),
            ("::1", AddressError::EmptyHost),
            ("fe80::1", AddressError::IllegalPort),
            ("a:", AddressError::IllegalPort),
            ("a:0", AddressError::IllegalPort),
            ("a:+1", AddressError::IllegalPort),
            ("a:65536", AddressError::IllegalPort),
            ("a,", AddressError::IllegalTag),
            ("a,65536", AddressError::IllegalTag),
            ("a,1,2", AddressError::IllegalTag),
        ];
        for (text, error) in table {
            assert_eq!(TargetAddress::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn socket_address_printed_reads_back(ip: std::net::IpAddr, port in 1u16.., tag: u16) {
            let portal = PortalAddress::from(SocketAddr::new(ip, port));
            prop_assert_eq!(PortalAddress::parse(&portal.to_string()), Ok(portal.clone()));
            let address = TargetAddress { portal, portal_group_tag: Some(tag) };
            prop_assert_eq!(TargetAddress::parse(&address.to_string()), Ok(address));
        }

        #[test]
        fn target_address_any_text_that_reads_prints_stably(text in "[\\[\\]a-z0-9:.,_-]{0,40}") {
            if let Ok(address) = TargetAddress::parse(&text) {
                prop_assert_eq!(TargetAddress::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
