//! Integers, flags and lists of an image.

use super::ImageError;

/// Appends values.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(super) fn duration(&mut self, value: core::time::Duration) {
        self.u64(value.as_secs());
        self.u32(value.subsec_nanos());
    }

    /// A length that is far below 2^32.
    pub(super) fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    pub(super) fn list(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }
}

/// Takes values off.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn end(&self) -> Result<(), ImageError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ImageError::TrailingBytes)
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ImageError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ImageError> {
        self.take().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ImageError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ImageError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ImageError> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, ImageError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ImageError::Invalid("flag")),
        }
    }

    pub(super) fn duration(&mut self) -> Result<core::time::Duration, ImageError> {
        let (seconds, nanos) = (self.u64()?, self.u32()?);
        if nanos >= 1_000_000_000 {
            return Err(ImageError::Invalid("duration"));
        }
        Ok(core::time::Duration::new(seconds, nanos))
    }

    /// A length, at most `most`.
    pub(super) fn count(&mut self, most: usize) -> Result<usize, ImageError> {
        let count = self.u32()? as usize;
        if count > most {
            Err(ImageError::Invalid("count"))
        } else {
            Ok(count)
        }
    }

    pub(super) fn list(&mut self, most: usize) -> Result<&'a [u8], ImageError> {
        let count = self.count(most)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ImageError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}
