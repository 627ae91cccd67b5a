//! Sends: one message after another until all has gone.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::opcode;
use io_uring::types::Fd;

use super::{Role, Sockets};
use crate::driver::Completion;
use crate::driver::slots::Key;
use crate::driver::stream::os_error;
use crate::driver::uring::{Done, Ring, Tag};
use crate::sys::net;

impl Sockets {
    pub(super) fn sent(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
        let Some(socket) = self.slots.find(done.key) else {
            return;
        };
        let Role::Stream { send: slot, .. } = &mut socket.role else {
            return;
        };
        let Some(mut outgoing) = slot.take() else {
            return;
        };
        let error = match done.result() {
            Ok(bytes) => {
                outgoing.send.advance(bytes);
                let is_cut_short = outgoing.canceled && !outgoing.send.is_done();
                is_cut_short.then(|| os_error(libc::ECANCELED))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted && !outgoing.canceled => None,
            Err(error) => Some(error),
        };
        if error.is_none() && !outgoing.send.is_done() {
            *slot = Some(outgoing);
            return self.start_send(done.key, ring);
        }
        self.spare.push(outgoing.message);
        out.push(outgoing.send.finish(error.map_or(Ok(()), Err)));
    }

    pub(super) fn start_send(&mut self, key: Key, ring: &mut Ring) {
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        let fd = Fd(socket.fd.as_raw_fd());
        let Role::Stream {
            send: Some(outgoing),
            ..
        } = &mut socket.role
        else {
            return;
        };
        outgoing
            .send
            .gather(&mut outgoing.message.iovecs, net::MAX_IOVECS);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = opcode::SendMsg::new(fd, outgoing.message.point_at_iovecs())
            .flags(flags.cast_unsigned())
            .build();
        socket.in_kernel += 1;
        self.in_kernel += 1;
        // SAFETY: list and message are the send's, which stays in its slot until the completion.
        unsafe { ring.push(entry, Tag::Send, key) };
    }
}
