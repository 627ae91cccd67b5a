//! Descriptors: none leaks, and running out of them is an error that passes.
//!
//! These cases look at the whole process, so they stand in a program of their own, one after the other.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use reactor::{
    Completion, Driver, DriverChoice, Op, OpResult, RecvInto, SendList, SendPiece, Slab, SocketId,
    Token, Wait, choose_driver,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn descriptors_do_not_leak_and_may_run_out() {
    for choice in [
        DriverChoice::Epoll,
        DriverChoice::Uring,
        DriverChoice::Mixed,
    ] {
        let before = open_descriptors();
        closed_socket_gives_its_descriptor_back(choice);
        assert_eq!(open_descriptors(), before, "{choice:?}: close");
        driver_gives_its_descriptors_back_with_operations_in_flight(choice);
        assert_eq!(open_descriptors(), before, "{choice:?}: drop");
        accept_without_descriptors_is_an_error_and_works_again_later(choice);
        assert_eq!(open_descriptors(), before, "{choice:?}: accept");
    }
}

fn closed_socket_gives_its_descriptor_back(choice: DriverChoice) {
    let mut driver = driver(choice);
    let before = open_descriptors();
    let (socket, mut peer) = connection(&mut *driver);
    receive_and_send(&mut *driver, socket);
    let mut out = Vec::new();
    driver.turn(Wait::Poll, &mut out);
    driver.close_socket(socket);
    let end = Instant::now() + PATIENCE;
    while out.len() < 2 {
        assert!(
            Instant::now() < end,
            "operations on a closed socket complete"
        );
        driver.turn(Wait::Until(Duration::from_millis(10)), &mut out);
    }
    let _ = peer.read_to_end(&mut Vec::new());
    drop(peer);
    assert_eq!(open_descriptors(), before);
}

fn driver_gives_its_descriptors_back_with_operations_in_flight(choice: DriverChoice) {
    let mut driver = driver(choice);
    let mut peers = Vec::new();
    for _ in 0..10 {
        let (socket, peer) = connection(&mut *driver);
        receive_and_send(&mut *driver, socket);
        peers.push(peer);
    }
    driver.turn(Wait::Poll, &mut Vec::new());
    // The driver goes first, and the peers see the end.
    drop(driver);
    for mut peer in peers {
        let _ = peer.read_to_end(&mut Vec::new());
    }
}

fn accept_without_descriptors_is_an_error_and_works_again_later(choice: DriverChoice) {
    let mut driver = driver(choice);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = driver.add_listener(listener.into()).unwrap();
    let _peer = TcpStream::connect(address).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(3),
            ..before
        },
    )
    .unwrap();
    let refused = accept(&mut *driver, listener);
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EMFILE));
    accept(&mut *driver, listener).unwrap();
}

fn driver(choice: DriverChoice) -> Box<dyn Driver> {
    choose_driver(choice, Slab::new(1 << 20).unwrap())
        .unwrap()
        .0
}

fn connection(driver: &mut dyn Driver) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (
        driver
            .add_socket(listener.accept().unwrap().0.into())
            .unwrap(),
        peer,
    )
}

/// A receive that nothing comes for, and a send that is too much for the socket.
fn receive_and_send(driver: &mut dyn Driver, socket: SocketId) {
    driver.push(
        Op::Recv {
            socket,
            into: RecvInto::default(),
        },
        Token(1),
    );
    let bytes = 8 << 20;
    let pieces = vec![SendPiece::Arena(0..bytes)];
    let list = Box::new(SendList {
        arena: vec![1; bytes as usize],
        pieces,
    });
    driver.push(Op::Send { socket, list }, Token(2));
}

fn accept(driver: &mut dyn Driver, listener: SocketId) -> std::io::Result<OwnedFd> {
    driver.push(Op::Accept { listener }, Token(3));
    let mut out = Vec::new();
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "the accept completes");
        driver.turn(Wait::Until(Duration::from_millis(10)), &mut out);
        if let Some(Completion {
            result: OpResult::Accept(result),
            ..
        }) = out.pop()
        {
            return result.map(|accepted| accepted.fd);
        }
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
