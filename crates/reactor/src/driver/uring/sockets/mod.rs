//! Sockets on the ring.
//!
//! A receive first polls, without a buffer, and takes its staging buffer when there is data; if the last one left data
//! behind, it does not poll. A send is one message that the kernel completes however long the peer takes.

mod receive;
mod send;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::opcode;
use io_uring::types::Fd;
use rustix::net::{Shutdown, shutdown};

use super::{Done, Ring, Tag, poll_mask};
use crate::driver::slots::{Key, Slots};
use crate::driver::staging::Staging;
use crate::driver::stream::{Receive, Sending, key_of, os_error, refuse_accept};
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
