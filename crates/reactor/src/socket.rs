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
    /// SO_REUSEPORT, for the moment in which a portal changes its socket.
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

/// Sets a connection's options. All are tried; the first error is told.
///
/// # Errors
/// What the kernel answers, e.g. `NotFound` for a congestion algorithm it does not have.
pub fn set_stream_options(fd: impl AsFd, options: &StreamOptions) -> io::Result<()> {
    let fd = fd.as_fd();
    let mut results = vec![sockopt::set_tcp_nodelay(fd, options.no_delay)];
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
    Ok(results.into_iter().collect::<Result<(), _>>()?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    fn loopback() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    #[test]
    fn listen_on_port_zero_takes_a_free_port_and_connects() {
        let fd = listen(loopback(), ListenOptions::default()).unwrap();
        let address = local_addr(&fd).unwrap();
        assert_ne!(address.port(), 0);
        let stream = TcpStream::connect(address).unwrap();
        assert_eq!(peer_addr(&stream).unwrap(), address);
        assert_eq!(
            peer_addr(&fd).unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
    }

    #[test]
    fn listen_on_a_port_in_use_is_refused() {
        let fd = listen(loopback(), ListenOptions::default()).unwrap();
        let again = listen(local_addr(&fd).unwrap(), ListenOptions::default());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn bind_without_listen_refuses_until_the_gate_opens() {
        let fd = bind(loopback(), ListenOptions::default()).unwrap();
        let address = local_addr(&fd).unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        start_listening(&fd, 16).unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn stream_options_of_an_unknown_congestion_algorithm_are_refused_but_the_others_set() {
        let fd = listen(loopback(), ListenOptions::default()).unwrap();
        let stream = TcpStream::connect(local_addr(&fd).unwrap()).unwrap();
        let options = StreamOptions {
            congestion: Some("no-such-algorithm".into()),
            keep_alive: Some(Duration::from_secs(60)),
            ..StreamOptions::default()
        };
        assert_eq!(
            set_stream_options(&stream, &options)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ENOENT)
        );
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let options = StreamOptions {
            congestion: Some("reno".into()),
            ..options
        };
        set_stream_options(&stream, &options).unwrap();
        assert_eq!(sockopt::tcp_congestion(&stream).unwrap(), "reno");
    }

    #[test]
    fn interface_addresses_name_the_loopback() {
        assert!(
            interface_addresses()
                .unwrap()
                .contains(&IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }
}
