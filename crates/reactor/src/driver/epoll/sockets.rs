//! Sockets by readiness: registered once, edge-triggered; each remembers what it is ready for.
//!
//! A send is tried when it is pushed. A receive is tried in the next turn if the socket may have data, and takes its
//! staging buffer only then. A receive that gets less than it asked for has emptied the socket, and the next bytes will
//! raise an edge; after a hang-up there may be no further edge, so the socket stays readable to its end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{Shutdown, shutdown};

use crate::driver::slots::{Key, Slots};
use crate::driver::staging::{RECEIVES_AT_ONCE, Staging};
use crate::driver::stream::{Receive, Sending, accept_one, key_of, os_error, refuse_accept};
use crate::driver::{Completion, OpResult, RecvInto, SendList, SocketId, Token};
use crate::memory::Buffer;
use crate::sys::net;

pub(super) struct Sockets {
    epoll: OwnedFd,
    slots: Slots<Socket>,
    /// Sockets with a receive or accept that may succeed now.
    runnable: VecDeque<Key>,
    /// Sockets with data whose receive found no memory, and how often memory had come back by then.
    starved: Vec<Key>,
    starved_at: u64,
    staging: Staging,
    iovecs: Vec<libc::iovec>,
}

struct Socket {
    fd: OwnedFd,
    readable: bool,
    writable: bool,
    hung_up: bool,
    /// Stands in `runnable` or `starved`.
    queued: bool,
    role: Role,
}

enum Role {
    Listener {
        accept: Option<Token>,
    },
    Stream {
        receive: Option<Receive>,
        send: Option<Sending>,
    },
}

/// What became of a try.
enum Tried {
    Done,
    NotReady,
    /// There is data, but no memory to put it into.
    Starved,
}

impl Sockets {
    pub(super) fn new(staging: Staging) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: Slots::default(),
            runnable: VecDeque::new(),
            starved: Vec::new(),
            starved_at: 0,
            staging,
            iovecs: Vec::new(),
        })
    }

    pub(super) fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Whether [`Self::run`] has something to try.
    pub(super) fn has_runnable(&self) -> bool {
        !self.runnable.is_empty()
            || (!self.starved.is_empty() && self.starved_at != self.staging.frees())
    }

    pub(super) fn add_listener(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        self.add(fd, Role::Listener { accept: None }, EventFlags::IN)
    }

    pub(super) fn add_stream(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP;
        self.add(
            fd,
            Role::Stream {
                receive: None,
                send: None,
            },
            flags,
        )
    }

    fn add(&mut self, fd: OwnedFd, role: Role, flags: EventFlags) -> io::Result<SocketId> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // Not known to be writable: the first edge tells, and a send is tried anyway.
        let socket = Socket {
            fd,
            readable: false,
            writable: true,
            hung_up: false,
            queued: false,
            role,
        };
        let key = self.slots.insert(socket);
        let data = EventData::new_u64(key.to_bits());
        let added = match self.slots.find(key) {
            Some(socket) => epoll::add(&self.epoll, &socket.fd, data, flags | EventFlags::ET),
            None => Ok(()),
        };
        if let Err(error) = added {
            self.slots.remove(key);
            return Err(error.into());
        }
        Ok(SocketId {
            index: key.index,
            generation: key.generation,
        })
    }

    pub(super) fn take(&mut self, id: SocketId) -> Option<OwnedFd> {
        let key = key_of(id);
        let socket = self.slots.find(key)?;
        if !socket.role.is_at_rest() {
            return None;
        }
        let socket = self.slots.remove(key)?;
        // It lives on elsewhere, so it must be taken off the list by hand.
        let _ = epoll::delete(&self.epoll, &socket.fd);
        Some(socket.fd)
    }

    pub(super) fn close(&mut self, id: SocketId, out: &mut Vec<Completion>) {
        let Some(socket) = self.slots.remove(key_of(id)) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, &socket.fd);
        match socket.role {
            Role::Listener { accept } => {
                out.extend(accept.map(|token| refuse_accept(token, libc::ECANCELED)));
            }
            Role::Stream { receive, send } => {
                let _ = shutdown(&socket.fd, Shutdown::Both);
                out.extend(receive.map(|receive| receive.fail(os_error(libc::ECANCELED))));
                out.extend(send.map(|send| send.finish(Err(os_error(libc::ECANCELED)))));
            }
        }
    }

    pub(super) fn accept(&mut self, id: SocketId, token: Token, out: &mut Vec<Completion>) {
        let key = key_of(id);
        let error = match self.slots.find(key).map(|socket| &mut socket.role) {
            Some(Role::Listener {
                accept: accept @ None,
            }) => {
                *accept = Some(token);
                return self.enqueue_if_readable(key);
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
        let error = match self.slots.find(key).map(|socket| &mut socket.role) {
            Some(Role::Stream {
                receive: receive @ None,
                ..
            }) => {
                *receive = Some(new);
                return self.enqueue_if_readable(key);
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
        let error = match self.slots.find(key).map(|socket| &mut socket.role) {
            Some(Role::Stream {
                send: send @ None, ..
            }) => {
                *send = Some(new);
                return self.try_send(key, out);
            }
            Some(Role::Stream { .. }) => libc::EBUSY,
            _ => libc::EBADF,
        };
        out.push(new.finish(Err(os_error(error))));
    }

    pub(super) fn cancel(&mut self, token: Token, out: &mut Vec<Completion>) {
        for (_, socket) in self.slots.iter_mut() {
            match &mut socket.role {
                Role::Listener { accept } => {
                    let found = accept.take_if(|accept| *accept == token);
                    out.extend(found.map(|token| refuse_accept(token, libc::ECANCELED)));
                }
                Role::Stream { receive, send } => {
                    let found = receive.take_if(|receive| receive.token == token);
                    out.extend(found.map(|receive| receive.fail(os_error(libc::ECANCELED))));
                    let found = send.take_if(|send| send.token == token);
                    out.extend(found.map(|send| send.finish(Err(os_error(libc::ECANCELED)))));
                }
            }
        }
    }

    /// Notes an edge, and goes on with a send that waited for it.
    pub(super) fn handle_event(&mut self, key: Key, flags: EventFlags, out: &mut Vec<Completion>) {
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        let hang_up = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        socket.hung_up |= flags.intersects(hang_up);
        socket.readable |= flags.intersects(hang_up | EventFlags::IN);
        if flags.intersects(hang_up | EventFlags::OUT) {
            socket.writable = true;
            self.try_send(key, out);
        }
        self.enqueue_if_readable(key);
    }

    /// Tries receives and accepts that may succeed.
    pub(super) fn run(&mut self, out: &mut Vec<Completion>) {
        if self.starved_at != self.staging.frees() {
            // First come, first served.
            for key in self.starved.drain(..).rev() {
                self.runnable.push_front(key);
            }
        }
        for _ in 0..RECEIVES_AT_ONCE {
            let Some(key) = self.runnable.pop_front() else {
                break;
            };
            let Some(socket) = self.slots.find(key) else {
                continue;
            };
            socket.queued = false;
            let tried = match socket.role {
                Role::Listener { .. } => self.try_accept(key, out),
                Role::Stream { .. } => self.try_receive(key, out),
            };
            if let (Tried::Starved, Some(socket)) = (tried, self.slots.find(key)) {
                socket.queued = true;
                self.starved.push(key);
                self.starved_at = self.staging.frees();
            }
        }
    }

    fn enqueue_if_readable(&mut self, key: Key) {
        if let Some(socket) = self.slots.find(key)
            && socket.readable
            && !socket.queued
            && socket.role.waits_for_input()
        {
            socket.queued = true;
            self.runnable.push_back(key);
        }
    }

    fn try_accept(&mut self, key: Key, out: &mut Vec<Completion>) -> Tried {
        let Some(socket) = self.slots.find(key) else {
            return Tried::Done;
        };
        let Role::Listener {
            accept: accept @ Some(_),
        } = &mut socket.role
        else {
            return Tried::Done;
        };
        let result = accept_one(socket.fd.as_fd());
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            socket.readable = false;
            return Tried::NotReady;
        }
        if let Some(token) = accept.take() {
            out.push(Completion {
                token,
                result: OpResult::Accept(result),
            });
        }
        Tried::Done
    }

    fn try_receive(&mut self, key: Key, out: &mut Vec<Completion>) -> Tried {
        let Some(socket) = self.slots.find(key) else {
            return Tried::Done;
        };
        let Role::Stream { receive: slot, .. } = &mut socket.role else {
            return Tried::Done;
        };
        let Some(receive) = slot.take() else {
            return Tried::Done;
        };
        let place = receive.place.as_ref().and_then(|place| place.span());
        let staging = self.staging.allocate();
        let into = place.into_iter().chain(staging.as_ref().map(Buffer::span));
        self.iovecs.clear();
        self.iovecs
            .extend(into.filter(|span| span.len > 0).map(|span| span.iovec()));
        let asked = self.iovecs.iter().map(|iovec| iovec.iov_len).sum::<usize>();
        if asked == 0 {
            *slot = Some(receive);
            return Tried::Starved;
        }
        // SAFETY: the iovecs are the place that `receive` owns and the staging buffer just allocated; nobody looks at
        // either during the call.
        match unsafe { net::receive(socket.fd.as_fd(), &mut self.iovecs) } {
            Ok(bytes) => {
                if bytes < asked && !socket.hung_up {
                    socket.readable = false;
                }
                out.push(receive.succeed(bytes, staging));
                Tried::Done
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable = false;
                *slot = Some(receive);
                Tried::NotReady
            }
            Err(error) => {
                out.push(receive.fail(error));
                Tried::Done
            }
        }
    }

    /// Sends until all has gone or the socket takes no more.
    fn try_send(&mut self, key: Key, out: &mut Vec<Completion>) {
        let Some(socket) = self.slots.find(key) else {
            return;
        };
        let Role::Stream { send: slot, .. } = &mut socket.role else {
            return;
        };
        let Some(mut send) = slot.take() else { return };
        while socket.writable && !send.is_done() {
            send.gather(&mut self.iovecs, net::MAX_IOVECS);
            // SAFETY: the iovecs name bytes of the list, which `send` owns and nobody changes.
            match unsafe { net::send(socket.fd.as_fd(), &mut self.iovecs) } {
                Ok(bytes) => send.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.writable = false;
                }
                Err(error) => return out.push(send.finish(Err(error))),
            }
        }
        if send.is_done() {
            out.push(send.finish(Ok(())));
        } else {
            *slot = Some(send);
        }
    }
}

impl Role {
    fn is_at_rest(&self) -> bool {
        match self {
            Self::Listener { accept } => accept.is_none(),
            Self::Stream { receive, send } => receive.is_none() && send.is_none(),
        }
    }

    fn waits_for_input(&self) -> bool {
        match self {
            Self::Listener { accept } => accept.is_some(),
            Self::Stream { receive, .. } => receive.is_some(),
        }
    }
}
