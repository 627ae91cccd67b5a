//! Listening, options, addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted.
    pub backlog: i32,
    /// SO_REUSEPORT, for the moment in which a portal changes its socket: see [`refuse_new`].
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_port: false,
        }
    }
}

/// What a connection's socket is set to. `None` leaves the system's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// Send small segments at once.
    pub no_delay: bool,
    /// SO_SNDBUF, in bytes. The kernel cuts it to its own limit.
    pub send_buffer_bytes: Option<usize>,
    /// SO_RCVBUF, in bytes. The kernel cuts it to its own limit.
    pub receive_buffer_bytes: Option<usize>,
    /// TCP_CONGESTION: the name of an algorithm.
    pub congestion: Option<String>,
    /// TCP keep-alive: the idle time before the first probe.
    pub keep_alive: Option<Duration>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            congestion: None,
            keep_alive: None,
        }
    }
}

/// A bound socket that listens, non-blocking. An IPv6 socket takes IPv6 only. Port 0 takes a free one
/// ([`local_addr`] tells which).
///
/// # Errors
/// What the kernel answers, e.g. `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`.
pub fn listen(address: SocketAddr, options: ListenOptions) -> io::Result<OwnedFd> {
    let fd = bind(address, options)?;
    net::listen(&fd, options.backlog)?;
    Ok(fd)
}

/// A bound socket that does not listen yet: connections are refused until [`start_listening`].
///
/// # Errors
/// As [`listen`].
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if options.reuse_port {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    net::bind(&fd, &address)?;
    Ok(fd)
}

/// Opens the gate of a socket from [`bind`].
///
/// # Errors
/// What the kernel answers: `AddrInUse` where another socket came to listen there first.
pub fn start_listening(fd: impl AsFd, backlog: i32) -> io::Result<()> {
    Ok(net::listen(fd, backlog)?)
}

/// Switches SO_REUSEPORT of a socket that is bound already. While both the present listener of a port and its successor
/// have it, the successor may bind and listen too, on the same address, on the wildcard, or on one of the addresses
/// behind the wildcard; both must be the same user's. Switched off again it does not bind the kernel in every case: it
/// may let in a further socket of that user which asks to share the port. One that does not ask is always refused.
///
/// # Errors
/// What the kernel answers.
pub fn set_reuse_port(fd: impl AsFd, on: bool) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(fd, on)?)
}

/// Has a listening socket hear no new connection requests, while handshakes in progress still end in its queue: how a
/// portal's socket is exchanged without a connection refused or reset. A request it does not hear is dropped silently; the
/// peer repeats it a second later, and by then it should reach the successor.
///
/// The order: [`set_reuse_port`] on the present listener; [`listen`] the successor, with `reuse_port`; this on the present
/// one; go on accepting from it for longer than a round trip, and for less than that second; close it; then
/// [`set_reuse_port`] off on the successor. [`accept_new`] undoes it, on the listener; [`set_stream_options`] does, on a
/// connection, which inherits it from its listener.
///
/// # Errors
/// What the kernel answers, e.g. `PermissionDenied` where the socket's filter is locked.
pub fn refuse_new(fd: impl AsFd) -> io::Result<()> {
    crate::sys::net::attach_filter(fd.as_fd(), &mut DROP_REQUESTS.map(instruction))
}

/// Has a listening socket hear connection requests again. Without effect where it does.
///
/// # Errors
/// What the kernel answers.
pub fn accept_new(fd: impl AsFd) -> io::Result<()> {
    crate::sys::net::detach_filter(fd.as_fd()).map(drop)
}

/// Sets a connection's options, and ends what it may have inherited of [`refuse_new`]. All are tried; the first error is
/// told.
///
/// # Errors
/// What the kernel answers, e.g. `NotFound` for a congestion algorithm it does not have.
pub fn set_stream_options(fd: impl AsFd, options: &StreamOptions) -> io::Result<()> {
    let fd = fd.as_fd();
    let mut results = vec![sockopt::set_tcp_nodelay(fd, options.no_delay)];
    // A peer that has restarted asks for a connection in the midst of the old one, and must be answered (RFC 9293 §3.10.7.4).
    let inherited = accept_new(fd);
    if let Some(bytes) = options.send_buffer_bytes {
        results.push(sockopt::set_socket_send_buffer_size(fd, bytes));
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        results.push(sockopt::set_socket_recv_buffer_size(fd, bytes));
    }
    if let Some(name) = &options.congestion {
        results.push(sockopt::set_tcp_congestion(fd, name));
    }
    if let Some(idle) = options.keep_alive {
        results.push(sockopt::set_socket_keepalive(fd, true));
        results.push(sockopt::set_tcp_keepidle(fd, idle));
    }
    results.into_iter().collect::<Result<(), _>>()?;
    inherited
}

/// The address a socket is bound to.
///
/// # Errors
/// What the kernel answers; `InvalidData` for a socket that is not of the internet.
pub fn local_addr(fd: impl AsFd) -> io::Result<SocketAddr> {
    let address = net::getsockname(fd)?;
    SocketAddr::try_from(address).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The address a socket is connected to.
///
/// # Errors
/// What the kernel answers, e.g. `NotConnected`; `InvalidData` for a socket that is not of the internet.
pub fn peer_addr(fd: impl AsFd) -> io::Result<SocketAddr> {
    let address = net::getpeername(fd)?.ok_or(io::ErrorKind::NotConnected)?;
    SocketAddr::try_from(address).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The addresses of this machine's interfaces that are up, loopback included.
///
/// # Errors
/// What the kernel answers.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    crate::sys::interfaces::addresses()
}

/// Whether this machine has the address, on an interface that is up: whether a peer here could reach it. All of 127/8 is
/// here; the wildcards are no address.
///
/// # Errors
/// As [`interface_addresses`].
pub fn is_local_address(address: IpAddr) -> io::Result<bool> {
    let address = address.to_canonical();
    let everywhere = matches!(address, IpAddr::V4(v4) if v4.is_loopback());
    Ok(everywhere || interface_addresses()?.contains(&address))
}

/// Classic BPF over a TCP segment, as (code, jump if true, jump if false, constant): drops those with SYN set and ACK clear.
const DROP_REQUESTS: [(u32, u8, u8, u32); 5] = [
    // The flags are the 14th byte (RFC 9293 §3.1).
    (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 13),
    (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
    (libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    // All of the segment.
    (libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
];

const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

fn instruction((code, jt, jf, k): (u32, u8, u8, u32)) -> libc::sock_filter {
    // Codes are made of small constants, all below 256.
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests;
