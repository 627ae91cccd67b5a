//! Attributes: tag, length, value (RFC 4171 §5.3, §6).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The longest entity identifier in bytes, without the NUL that ends it (§6.2.1).
pub const MAX_ENTITY_BYTES: usize = 255;

/// Tags (§6.1).
pub mod tag {
    /// Between message key and operating attributes.
    pub const DELIMITER: u32 = 0;
    /// Key of a network entity: text.
    pub const ENTITY_IDENTIFIER: u32 = 1;
    /// 2: iSCSI.
    pub const ENTITY_PROTOCOL: u32 = 2;
    /// Seconds since 1970, 8 bytes.
    pub const TIMESTAMP: u32 = 4;
    /// Highest and lowest version of the protocol, 16 bits each.
    pub const PROTOCOL_VERSION_RANGE: u32 = 5;
    /// Seconds after which a silent client is forgotten.
    pub const REGISTRATION_PERIOD: u32 = 6;
    /// Key of a portal, with [`PORTAL_PORT`].
    pub const PORTAL_ADDRESS: u32 = 16;
    /// Key of a portal, with [`PORTAL_ADDRESS`].
    pub const PORTAL_PORT: u32 = 17;
    /// Seconds between entity status inquiries.
    pub const ESI_INTERVAL: u32 = 19;
    /// Where they go.
    pub const ESI_PORT: u32 = 20;
    /// Where state change notifications go.
    pub const SCN_PORT: u32 = 23;
    /// Key of a storage node: text.
    pub const ISCSI_NAME: u32 = 32;
    /// 1: target.
    pub const ISCSI_NODE_TYPE: u32 = 33;
    /// Text.
    pub const ISCSI_ALIAS: u32 = 34;
    /// Of which changes a node is told; in a notification, which it was.
    pub const ISCSI_SCN_BITMAP: u32 = 35;
    /// Portal of a portal group, with [`PG_PORTAL_PORT`].
    pub const PG_PORTAL_ADDRESS: u32 = 49;
    /// Portal of a portal group, with [`PG_PORTAL_ADDRESS`].
    pub const PG_PORTAL_PORT: u32 = 50;
    /// The group's tag; of length 0: the node is not at that portal.
    pub const PG_TAG: u32 = 51;
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// See [`tag`].
    pub tag: u32,
    /// With its padding, which nothing but its type tells from the value.
    pub value: &'a [u8],
}

/// Bytes that are no attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Attribute<'a> {
    /// A number of four bytes.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    /// Text up to its NUL.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        let end = self.value.iter().position(|byte| *byte == 0)?;
        core::str::from_utf8(&self.value[..end]).ok()
    }
}

/// Attributes one after the other.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those of a payload, without the status that a response begins with.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = take(self.0);
        self.0 = taken.map_or(&[], |(_, rest)| rest);
        Some(taken.map(|(attribute, _)| attribute).ok_or(Malformed))
    }
}

// RFC 4171 §5.3.1: the length is one of whole words, padding included.
fn take(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if !length.is_multiple_of(4) {
        return None;
    }
    let (value, rest) = rest.split_at_checked(length)?;
    let tag = u32::from_be_bytes(*tag);
    Some((Attribute { tag, value }, rest))
}

/// Writes attributes.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes that is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An attribute without a value: the delimiter, what a query asks for, or a value that is none.
    pub fn empty(&mut self, tag: u32) -> &mut Self {
        self.value(tag, &[])
    }

    /// A number of four bytes.
    pub fn number(&mut self, tag: u32, number: u32) -> &mut Self {
        self.value(tag, &number.to_be_bytes())
    }

    /// Text with its NUL, padded to a whole number of words. A NUL within would end it.
    pub fn text(&mut self, tag: u32, text: &str) -> &mut Self {
        let text = text.split('\0').next().unwrap_or_default();
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize((bytes.len() + 1).next_multiple_of(4), 0);
        self.value(tag, &bytes)
    }

    /// Address and port of a portal, under a tag each.
    // RFC 4171 §6.3.1: an IPv4 address is stored as an IPv4-mapped IPv6 address. §6.3.2: TCP has bit 15 clear.
    pub fn portal(&mut self, (address, port): (u32, u32), portal: SocketAddr) -> &mut Self {
        let ip: Ipv6Addr = match portal.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.value(address, &ip.octets());
        self.number(port, portal.port().into())
    }

    /// Attributes as they came, whole.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Any value of whole words.
    pub fn value(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).unwrap_or(0);
        self.0.extend_from_slice(&tag.to_be_bytes());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writer_each_kind_has_its_bytes() {
        let mut writer = Writer::default();
        writer
            .text(tag::ENTITY_IDENTIFIER, "abc")
            .text(tag::ISCSI_ALIAS, "abcd")
            .number(tag::ENTITY_PROTOCOL, 2)
            .empty(tag::DELIMITER)
            .portal((16, 17), "192.0.2.1:3260".parse().unwrap());
        let golden: &[&[u8]] = &[
            &[0, 0, 0, 1, 0, 0, 0, 4, b'a', b'b', b'c', 0],
            &[0, 0, 0, 34, 0, 0, 0, 8, b'a', b'b', b'c', b'd', 0, 0, 0, 0],
            &[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 16, 0, 0, 0, 16],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1],
            &[0, 0, 0, 17, 0, 0, 0, 4, 0, 0, 0x0c, 0xbc],
        ];
        assert_eq!(writer.into_bytes(), golden.concat());
    }

    #[test]
    fn attributes_malformed_end_with_an_error() {
        let mut writer = Writer::default();
        writer.number(tag::REGISTRATION_PERIOD, 60);
        let good = writer.into_bytes();
        for tail in [
            &[0][..],
            &[0, 0, 0, 1, 0, 0, 0],
            &[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0],
            &[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0],
        ] {
            let bytes = [&good[..], tail].concat();
            let found: Vec<_> = Attributes::new(&bytes).collect();
            assert_eq!(found.len(), 2);
            assert_eq!(found[0].map(|one| one.number()), Ok(Some(60)));
            assert_eq!(found[1], Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn attributes_of_any_bytes_end(bytes: Vec<u8>) {
            prop_assert!(Attributes::new(&bytes).count() <= bytes.len() / 8 + 1);
        }

        #[test]
        fn text_written_reads_back(text in "[^\\x00]{0,60}") {
            let mut writer = Writer::default();
            writer.text(tag::ISCSI_NAME, &text);
            let bytes = writer.into_bytes();
            let read = Attributes::new(&bytes).next().and_then(Result::ok);
            prop_assert_eq!(read.and_then(|one| one.text()), Some(&*text));
        }
    }
}
