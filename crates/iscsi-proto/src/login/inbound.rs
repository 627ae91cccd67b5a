//! Bytes of the stream into Login Requests with their text, however the stream is cut.

use iscsi_wire::{BHS_BYTES, Bhs, LoginRequest, pad};

/// A request in the making. There are no digests during login (RFC 7143 §13.1).
#[derive(Clone)]
pub(super) struct Inbound {
    header: [u8; BHS_BYTES],
    header_bytes: usize,
    request: Option<LoginRequest>,
    text_missing: usize,
    padding_missing: usize,
    /// The text of all requests since the last one without C.
    text: Vec<u8>,
}

/// How far the stream has come.
pub(super) enum Progress {
    /// Bytes are missing.
    More,
    /// A header is complete: [`Inbound::expect`] says that it is acceptable and its data segment may follow.
    Header(Bhs),
    /// The request and its data segment are complete.
    Request(LoginRequest),
}

impl Inbound {
    pub(super) const fn new() -> Self {
        Self {
            header: [0; BHS_BYTES],
            header_bytes: 0,
            request: None,
            text_missing: 0,
            padding_missing: 0,
            text: Vec::new(),
        }
    }

    /// Takes bytes up to the end of what is in the making; how many.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        if self.request.is_none() {
            let room = self.header.get_mut(self.header_bytes..).unwrap_or_default();
            let taken = room.len().min(bytes.len());
            for (place, byte) in room.iter_mut().zip(bytes) {
                *place = *byte;
            }
            self.header_bytes += taken;
            return taken;
        }
        let (text, rest) = bytes.split_at(self.text_missing.min(bytes.len()));
        self.text.extend_from_slice(text);
        self.text_missing -= text.len();
        let padding = self.padding_missing.min(rest.len());
        self.padding_missing -= padding;
        text.len() + padding
    }

    pub(super) fn progress(&mut self) -> Progress {
        match self.request {
            None if self.header_bytes < BHS_BYTES => Progress::More,
            None => Progress::Header(Bhs(self.header)),
            Some(_) if self.text_missing + self.padding_missing > 0 => Progress::More,
            Some(request) => {
                self.request = None;
                self.header_bytes = 0;
                Progress::Request(request)
            }
        }
    }

    /// The header that is complete is this request, and its data segment is to be read.
    pub(super) fn expect(&mut self, request: LoginRequest) {
        let bytes = usize::try_from(request.data_segment_length).unwrap_or(usize::MAX);
        self.text_missing = bytes;
        self.padding_missing = pad(bytes);
        self.request = Some(request);
    }

    /// Bytes of text gathered so far.
    pub(super) const fn text_bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn take_text(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.text)
    }
}
