use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::sys::net::detach_filter;

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

#[test]
fn is_local_address_of_this_machines_and_of_others() {
    let local = |text: &str| is_local_address(text.parse().unwrap()).unwrap();
    assert!(local("127.0.0.1") && local("127.45.6.7") && local("::ffff:127.0.0.1"));
    // TEST-NET-3 and the documentation prefix (RFC 5737, RFC 3849) are nobody's.
    assert!(!local("203.0.113.9") && !local("2001:db8::9"));
    assert!(!local("0.0.0.0") && !local("::"));
    for address in interface_addresses().unwrap() {
        assert!(is_local_address(address).unwrap(), "{address}");
    }
}

#[test]
fn reuse_port_lets_a_successor_listen_where_both_have_it_and_never_one_without() {
    let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let first = listen(wildcard, ListenOptions::default()).unwrap();
    let port = local_addr(&first).unwrap().port();
    let specific = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let sharing = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    assert_eq!(in_use(specific, sharing), io::ErrorKind::AddrInUse);
    set_reuse_port(&first, true).unwrap();
    let alone = ListenOptions::default();
    assert_eq!(in_use(specific, alone), io::ErrorKind::AddrInUse);
    let second = listen(specific, sharing).unwrap();
    set_reuse_port(&second, false).unwrap();
    set_reuse_port(&first, false).unwrap();
    for address in [specific, SocketAddr::new(wildcard.ip(), port)] {
        assert_eq!(in_use(address, alone), io::ErrorKind::AddrInUse);
    }
}

fn in_use(address: SocketAddr, options: ListenOptions) -> io::ErrorKind {
    listen(address, options).unwrap_err().kind()
}

#[test]
fn refuse_new_drops_requests_and_keeps_what_is_in_the_queue_until_undone() {
    let fd = listen(loopback(), ListenOptions::default()).unwrap();
    let address = local_addr(&fd).unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    refuse_new(&fd).unwrap();
    let wait = Duration::from_millis(50);
    let error = TcpStream::connect_timeout(&address, wait).unwrap_err();
    assert_eq!(
        error.kind(),
        io::ErrorKind::TimedOut,
        "dropped, not refused"
    );
    assert_eq!(greet_next(&fd), 1);
    assert_eq!(early.read(&mut [0; 2]).unwrap(), 1);
    accept_new(&fd).unwrap();
    accept_new(&fd).unwrap();
    TcpStream::connect(address).unwrap();
}

#[test]
fn stream_options_end_what_a_connection_inherited_of_its_listeners_filter() {
    let fd = listen(loopback(), ListenOptions::default()).unwrap();
    let _peer = TcpStream::connect(local_addr(&fd).unwrap()).unwrap();
    // A handshake cannot be stopped halfway here: a filter of the connection's own stands for the inherited one.
    let connection = net::accept(&fd).unwrap();
    refuse_new(&connection).unwrap();
    assert!(detach_filter(connection.as_fd()).unwrap());
    refuse_new(&connection).unwrap();
    set_stream_options(&connection, &StreamOptions::default()).unwrap();
    assert!(!detach_filter(connection.as_fd()).unwrap());
}

#[test]
fn exchange_of_listeners_under_connects_refuses_and_resets_none() {
    for (wildcard, specific) in [
        (
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv4Addr::LOCALHOST.into(),
        ),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    ] {
        if is_local_address(specific).unwrap() {
            exchange_under_connects(wildcard, specific);
        }
    }
}

/// There and back, and to another socket of the same address.
fn exchange_under_connects(wildcard: IpAddr, specific: IpAddr) {
    let mut listener = listen(SocketAddr::new(wildcard, 0), ListenOptions::default()).unwrap();
    let port = local_addr(&listener).unwrap().port();
    let over = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PEERS {
            scope.spawn(|| {
                let _over = Counts(&over);
                connect_in_a_loop(SocketAddr::new(specific, port));
            });
        }
        let mut served = 0;
        let mut route = [specific, specific, wildcard, specific, wildcard].into_iter();
        while over.load(Ordering::Relaxed) < PEERS {
            let greeted = greet_until_quiet(&listener, 20);
            served += greeted;
            // Only where there are connects under way.
            if greeted == 20
                && let Some(address) = route.next()
            {
                let (successor, greeted) = exchange(listener, SocketAddr::new(address, port));
                (listener, served) = (successor, served + greeted);
            }
        }
        assert_eq!(route.next(), None, "all exchanges took place");
        assert_eq!(served, PEERS * CONNECTS);
    });
}

const PEERS: usize = 2;
const CONNECTS: usize = 200;

/// Connects, and is greeted, each time within the repetitions of a request.
fn connect_in_a_loop(address: SocketAddr) {
    for _ in 0..CONNECTS {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting).unwrap();
        assert_eq!(greeting, b"!");
    }
}

/// The steps that the documentation of [`refuse_new`] names.
fn exchange(present: OwnedFd, address: SocketAddr) -> (OwnedFd, usize) {
    set_reuse_port(&present, true).unwrap();
    let sharing = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    let successor = listen(address, sharing).unwrap();
    refuse_new(&present).unwrap();
    let greeted = greet_until_quiet(&present, usize::MAX);
    drop(present);
    set_reuse_port(&successor, false).unwrap();
    (successor, greeted)
}

/// Greets those that connect, until a hundred milliseconds bring nobody, or `most` were greeted.
fn greet_until_quiet(listener: &OwnedFd, most: usize) -> usize {
    let mut greeted = 0;
    while greeted < most {
        match greet_next(listener) {
            0 => break,
            one => greeted += one,
        }
    }
    greeted
}

/// Greets one; 0 where a hundred milliseconds bring nobody.
fn greet_next(listener: &OwnedFd) -> usize {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    if poll(&mut polled, Some(&wait)).unwrap() == 0 {
        return 0;
    }
    let mut stream = TcpStream::from(net::accept(listener).unwrap());
    stream.write_all(b"!").unwrap();
    1
}

/// Counts its end, also a panic's.
struct Counts<'a>(&'a AtomicUsize);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
