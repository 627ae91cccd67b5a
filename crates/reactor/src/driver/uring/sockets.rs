//! Sockets on the ring.
//!
//! A receive first polls, without a buffer, and takes its staging buffer when there is data; if the last one left data
//! behind, it does not poll. A send is one message that the kernel completes however long the peer takes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use rustix::net::{Shutdown, shutdown};

use super::{Done, Ring, Tag, poll_mask};
use crate::driver::epoll::{accept_one, key_of, refuse_accept};
use crate::driver::slots::{Key, Slots};
use crate::driver::staging::Staging;
use crate::driver::stream::{Receive, Sending, os_error};
use crate::driver::{Completion, OpResult, RecvInto, SendList, SocketId, Token};
use crate::memory::Buffer;
use crate::sys::net;

pub(super) struct Sockets {
    slots: Slots<Socket>,
    /// Streams with data whose receive found no memory, and how often memory had come back by then.
    starved: Vec<Key>,
    starved_at: u64,
    staging: Staging,
    /// Message headers that no send or receive uses.
    #[expect(
        clippy::vec_box,
        reason = "the kernel knows their addresses, which must not move"
    )]
    spare: Vec<Box<Message>>,
    /// Submissions whose completions have not come.
    in_kernel: usize,
}

struct Socket {
    fd: OwnedFd,
    /// Its id is not known any more; it goes with its last completion.
    closing: bool,
    in_kernel: u32,
    role: Role,
}

enum Role {
    Listener {
        accept: Option<Accept>,
    },
    Stream {
        receive: Option<InFlight>,
        send: Option<Outgoing>,
        has_data: bool,
    },
}

struct Accept {
    token: Token,
    canceled: bool,
}

struct InFlight {
    receive: Receive,
    canceled: bool,
    phase: Phase,
}

enum Phase {
    Polling,
    Starved,
    Receiving {
        asked: usize,
        staging: Option<Buffer>,
        message: Option<Box<Message>>,
    },
}

struct Outgoing {
    send: Sending,
    canceled: bool,
    message: Box<Message>,
}

/// What the kernel reads a list of addresses from; stays where it is until the completion.
struct Message {
    header: libc::msghdr,
    iovecs: Vec<libc::iovec>,
}

impl Sockets {
    pub(super) fn new(staging: Staging) -> Self {
        Self {
            slots: Slots::default(),
            starved: Vec::new(),
            starved_at: 0,
            staging,
            spare: Vec::new(),
            in_kernel: 0,
        }
    }

    /// Submissions whose completions have not come.
    pub(super) fn in_kernel(&self) -> usize {
        self.in_kernel
    }

    pub(super) fn add_listener(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        self.add(fd, Role::Listener { accept: None })
    }

    pub(super) fn add_stream(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        self.add(
            fd,
            Role::Stream {
                receive: None,
                send: None,
                has_data: false,
            },
        )
    }

    fn add(&mut self, fd: OwnedFd, role: Role) -> io::Result<SocketId> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let key = self.slots.insert(Socket {
            fd,
            closing: false,
            in_kernel: 0,
            role,
        });
        Ok(SocketId {
            index: key.index,
            generation: key.generation,
        })
    }

    pub(super) fn take(&mut self, id: SocketId) -> Option<OwnedFd> {
        let key = key_of(id);
        let socket = self.slots.find(key)?;
        let at_rest = match &socket.role {
            Role::Listener { accept } => accept.is_none(),
            Role::Stream { receive, send, .. } => receive.is_none() && send.is_none(),
        };
        if !at_rest || socket.in_kernel > 0 || socket.closing {
            return None;
        }
        self.slots.remove(key).map(|socket| socket.fd)
    }

    pub(super) fn close(&mut self, id: SocketId, ring: &mut Ring, out: &mut Vec<Completion>) {
        let key = key_of(id);
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        if socket.closing {
            return;
        }
        socket.closing = true;
        if matches!(socket.role, Role::Stream { .. }) {
            let _ = shutdown(&socket.fd, Shutdown::Both);
        }
        self.cancel_in(key, ring, out, |_| true);
        self.remove_if_closed(key);
    }

    pub(super) fn close_all(&mut self, ring: &mut Ring, out: &mut Vec<Completion>) {
        let keys = self
            .slots
            .iter_mut()
            .map(|(key, _)| key)
            .collect::<Vec<_>>();
        for Key { index, generation } in keys {
            self.close(SocketId { index, generation }, ring, out);
        }
    }

    pub(super) fn accept(
        &mut self,
        id: SocketId,
        token: Token,
        ring: &mut Ring,
        out: &mut Vec<Completion>,
    ) {
        let key = key_of(id);
        let error = match self.open(key).map(|socket| &mut socket.role) {
            Some(Role::Listener {
                accept: accept @ None,
            }) => {
                *accept = Some(Accept {
                    token,
                    canceled: false,
                });
                return self.poll(key, ring);
            }
            Some(Role::Listener { .. }) => libc::EBUSY,
            _ => libc::EBADF,
        };
        out.push(refuse_accept(token, error));
    }

    pub(super) fn receive(
        &mut self,
        id: SocketId,
        into: RecvInto,
        token: Token,
        ring: &mut Ring,
        out: &mut Vec<Completion>,
    ) {
        let key = key_of(id);
        let new = Receive {
            token,
            place: into.place,
        };
        if new
            .place
            .as_ref()
            .is_some_and(|place| place.span().is_none())
        {
            return out.push(new.fail(os_error(libc::EINVAL)));
        }
        let error = match self.open(key).map(|socket| &mut socket.role) {
            Some(Role::Stream {
                receive: receive @ None,
                has_data,
                ..
            }) => {
                *receive = Some(InFlight {
                    receive: new,
                    canceled: false,
                    phase: Phase::Polling,
                });
                return if *has_data {
                    self.start_receive(key, ring);
                } else {
                    self.poll(key, ring);
                };
            }
            Some(Role::Stream { .. }) => libc::EBUSY,
            _ => libc::EBADF,
        };
        out.push(new.fail(os_error(error)));
    }

    pub(super) fn send(
        &mut self,
        id: SocketId,
        list: Box<SendList>,
        token: Token,
        ring: &mut Ring,
        out: &mut Vec<Completion>,
    ) {
        let key = key_of(id);
        if !list.is_sound() {
            let result = OpResult::Send {
                result: Err(os_error(libc::EINVAL)),
                list,
            };
            return out.push(Completion { token, result });
        }
        let new = Sending::new(token, list);
        let message = self.spare.pop().unwrap_or_default();
        let error = match self.open(key).map(|socket| &mut socket.role) {
            Some(Role::Stream { send: None, .. }) if new.is_done() => {
                self.spare.push(message);
                return out.push(new.finish(Ok(())));
            }
            Some(Role::Stream {
                send: send @ None, ..
            }) => {
                *send = Some(Outgoing {
                    send: new,
                    canceled: false,
                    message,
                });
                return self.start_send(key, ring);
            }
            Some(Role::Stream { .. }) => libc::EBUSY,
            _ => libc::EBADF,
        };
        self.spare.push(message);
        out.push(new.finish(Err(os_error(error))));
    }

    pub(super) fn cancel(&mut self, token: Token, ring: &mut Ring, out: &mut Vec<Completion>) {
        let keys = self
            .slots
            .iter_mut()
            .filter(|(_, socket)| socket.role.has(token));
        for key in keys.map(|(key, _)| key).collect::<Vec<_>>() {
            self.cancel_in(key, ring, out, |candidate| candidate == token);
        }
    }

    fn cancel_in(
        &mut self,
        key: Key,
        ring: &mut Ring,
        out: &mut Vec<Completion>,
        matches: impl Fn(Token) -> bool,
    ) {
        match self.slots.find(key).map(|socket| &mut socket.role) {
            Some(Role::Listener {
                accept: Some(accept),
            }) if matches(accept.token) => {
                accept.canceled = true;
                ring.cancel_tagged(Tag::Readable, key);
            }
            Some(Role::Stream { receive, send, .. }) => {
                if let Some(starved) = receive.take_if(|receive| {
                    matches!(receive.phase, Phase::Starved) && matches(receive.receive.token)
                }) {
                    out.push(starved.receive.fail(os_error(libc::ECANCELED)));
                }
                if let Some(receive) = receive
                    && matches(receive.receive.token)
                {
                    receive.canceled = true;
                    ring.cancel_tagged(Tag::Readable, key);
                }
                if let Some(send) = send
                    && matches(send.send.token)
                {
                    send.canceled = true;
                    ring.cancel_tagged(Tag::Send, key);
                }
            }
            _ => {}
        }
    }

    /// Receives that found no memory are started when there is some.
    pub(super) fn run(&mut self, ring: &mut Ring) {
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

    /// Takes in a completion of one of this half's submissions.
    pub(super) fn handle(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
        self.in_kernel = self.in_kernel.saturating_sub(1);
        if let Some(socket) = self.slots.find(done.key) {
            socket.in_kernel = socket.in_kernel.saturating_sub(1);
        }
        match done.tag {
            Tag::Receive => self.received(done, ring, out),
            Tag::Send => self.sent(done, ring, out),
            _ => self.polled(done, ring, out),
        }
        self.remove_if_closed(done.key);
    }

    fn polled(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
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

    fn received(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
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

    fn sent(&mut self, done: Done, ring: &mut Ring, out: &mut Vec<Completion>) {
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

    fn poll(&mut self, key: Key, ring: &mut Ring) {
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        let fd = Fd(socket.fd.as_raw_fd());
        let mask = poll_mask(libc::POLLIN | libc::POLLRDHUP);
        socket.in_kernel += 1;
        self.in_kernel += 1;
        let entry = opcode::PollAdd::new(fd, mask).build();
        // SAFETY: no address in it.
        unsafe { ring.push(entry, Tag::Readable, key) };
    }

    /// Receives what is there, if there is memory for it.
    fn start_receive(&mut self, key: Key, ring: &mut Ring) {
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

    fn start_send(&mut self, key: Key, ring: &mut Ring) {
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

    fn open(&mut self, key: Key) -> Option<&mut Socket> {
        self.slots.find(key).filter(|socket| !socket.closing)
    }

    fn remove_if_closed(&mut self, key: Key) {
        if self
            .slots
            .find(key)
            .is_some_and(|socket| socket.closing && socket.in_kernel == 0)
        {
            self.slots.remove(key);
        }
    }
}

impl Drop for Sockets {
    /// What the kernel may yet write to keeps its memory for ever.
    fn drop(&mut self) {
        if self.in_kernel > 0 {
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl Role {
    fn is_starved(&self) -> bool {
        let Self::Stream {
            receive: Some(receive),
            ..
        } = self
        else {
            return false;
        };
        matches!(receive.phase, Phase::Starved)
    }

    fn has(&self, token: Token) -> bool {
        match self {
            Self::Listener { accept } => {
                accept.as_ref().is_some_and(|accept| accept.token == token)
            }
            Self::Stream { receive, send, .. } => {
                receive
                    .as_ref()
                    .is_some_and(|receive| receive.receive.token == token)
                    || send.as_ref().is_some_and(|send| send.send.token == token)
            }
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Self {
            header: net::message(&mut []),
            iovecs: Vec::new(),
        }
    }
}

impl Message {
    /// The header, of the iovecs as they are now.
    fn point_at_iovecs(&mut self) -> &mut libc::msghdr {
        self.header = net::message(&mut self.iovecs);
        &mut self.header
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
