//! Receives: poll, take memory, receive. Accepts: poll, accept.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode};

use super::{InFlight, Phase, Role, Sockets};
use crate::driver::slots::Key;
use crate::driver::stream::{accept_one, os_error};
use crate::driver::uring::{Done, Ring, Tag};
use crate::driver::{Completion, OpResult};
use crate::memory::Buffer;

impl Sockets {
    /// Receives that found no memory are started when there is some.
    pub(in crate::driver::uring) fn run(&mut self, ring: &mut Ring) {
        if self.starved.is_empty() || self.starved_at == self.staging.frees() {
            return;
        }
        for key in std::mem::take(&mut self.starved) {
            // It may have been canceled, and another receive may be polling by now.
            if self
                .slots
                .find(key)
                .is_some_and(|socket| socket.role.is_starved())
            {
                self.start_receive(key, ring);
            }
        }
    }

    pub(super) fn polled(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
        let key = done.key;
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        match &mut socket.role {
            Role::Listener { accept: slot } => {
                let Some(accept) = slot.take() else { return };
                let result = match done.result() {
                    _ if accept.canceled => Err(os_error(libc::ECANCELED)),
                    Ok(_) => accept_one(socket.fd.as_fd()),
                    Err(error) => Err(error),
                };
                if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                    *slot = Some(accept);
                    return self.poll(key, ring);
                }
                let result = OpResult::Accept(result);
                out.push(Completion {
                    token: accept.token,
                    result,
                });
            }
            Role::Stream { receive: slot, .. } => {
                let Some(in_flight) = slot.take() else { return };
                match done.result() {
                    _ if in_flight.canceled => {
                        out.push(in_flight.receive.fail(os_error(libc::ECANCELED)));
                    }
                    Ok(_) => {
                        *slot = Some(in_flight);
                        self.start_receive(key, ring);
                    }
                    Err(error) => out.push(in_flight.receive.fail(error)),
                }
            }
        }
    }

    pub(super) fn received(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
        let Some(socket) = self.slots.find(done.key) else {
            return;
        };
        let Role::Stream {
            receive: slot,
            has_data,
            ..
        } = &mut socket.role
        else {
            return;
        };
        let Some(in_flight) = slot.take() else { return };
        let InFlight {
            receive,
            canceled,
            phase,
        } = in_flight;
        let Phase::Receiving {
            asked,
            staging,
            message,
        } = phase
        else {
            return;
        };
        self.spare.extend(message);
        match done.result() {
            Ok(bytes) => {
                *has_data = bytes >= asked || cqueue::sock_nonempty(done.flags);
                out.push(receive.succeed(bytes, staging));
            }
            Err(_) if canceled => out.push(receive.fail(os_error(libc::ECANCELED))),
            Err(error) if is_transient(&error) => {
                *has_data = false;
                *slot = Some(InFlight {
                    receive,
                    canceled,
                    phase: Phase::Polling,
                });
                self.poll(done.key, ring);
            }
            Err(error) => out.push(receive.fail(error)),
        }
    }

    /// Receives what is there, if there is memory for it.
    pub(super) fn start_receive(&mut self, key: Key, ring: &mut Ring) {
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        let fd = Fd(socket.fd.as_raw_fd());
        let Role::Stream {
            receive: Some(in_flight),
            ..
        } = &mut socket.role
        else {
            return;
        };
        if matches!(in_flight.phase, Phase::Receiving { .. }) {
            return;
        }
        let place = in_flight
            .receive
            .place
            .as_ref()
            .and_then(|place| place.span());
        let place = place.filter(|span| span.len > 0);
        let staging = self.staging.allocate();
        let (entry, asked, message) = match (place, staging.as_ref().map(Buffer::span)) {
            (None, None) => {
                in_flight.phase = Phase::Starved;
                self.starved.push(key);
                self.starved_at = self.staging.frees();
                return;
            }
            (Some(one), None) | (None, Some(one)) => {
                let len = u32::try_from(one.len).unwrap_or(u32::MAX);
                let entry = opcode::Recv::new(fd, one.ptr, len).flags(libc::MSG_DONTWAIT);
                (entry.build(), one.len, None)
            }
            (Some(first), Some(second)) => {
                let mut message = self.spare.pop().unwrap_or_default();
                message.iovecs.clear();
                message.iovecs.extend([first.iovec(), second.iovec()]);
                let entry = opcode::RecvMsg::new(fd, message.point_at_iovecs());
                let entry = entry.flags(libc::MSG_DONTWAIT.cast_unsigned()).build();
                (entry, first.len + second.len, Some(message))
            }
        };
        in_flight.phase = Phase::Receiving {
            asked,
            staging,
            message,
        };
        socket.in_kernel += 1;
        self.in_kernel += 1;
        // SAFETY: place, staging buffer and message are the receive's, which stays in its slot until the completion.
        unsafe { ring.push(entry, Tag::Receive, key) };
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
